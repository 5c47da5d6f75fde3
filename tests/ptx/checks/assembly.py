"""Small modules written for one check of the interpreter."""

import numpy as np

from simulator.device import Device
from simulator.types import NUMPY

HEAD = """.version 8.4
.target sm_90a
.address_size 64
.extern .shared .align 16 .b8 dynamic[];
.visible .entry test(.param .u64 in, .param .u64 out)
{
.reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<99>; .reg .f32 %f<9>; .reg .b64 %d<19>;
.shared .align 16 .b8 fixed[4096];
ld.param.u64 %d0, [in];
ld.param.u64 %d1, [out];
mov.u32 %r0, %tid.x;
mul.wide.u32 %d2, %r0, 4;
add.s64 %d3, %d0, %d2;
add.s64 %d4, %d1, %d2;
"""


def run(body, inputs, threads=32, results=None, dynamic=0, grid=1, out_bytes=None):
    """Runs `body` with the address of `inputs` in %d0 and that of the results in %d1, a thread's number in %r0, and
    those of its own words in %d3 and %d4. Gives the results as u32, one for each thread, or `results` of them."""
    device = Device({"test": HEAD + body + "\nret;\n}\n"})
    count = threads if results is None else results
    out = device.memory.allocate(4 * count if out_bytes is None else out_bytes)
    device.launch("test", "test", (grid,), threads, [device.upload(inputs), out], dynamic)
    return device.download(out, count, np.uint32) if count else None


def register(kind, name):
    """A register of the width that holds `kind`."""
    width = max(16, 8 * np.dtype(NUMPY[kind]).itemsize)
    return {16: "%h", 32: "%r", 64: "%d1"}[width] + name


def apply(instruction, kinds, *operands):
    """What `instruction` gives for operands in columns: kinds of the result and of each operand, then their values.

    The text has {d}, {a}, {b}, {c} and {e} where registers go. A result of kind pred is 1 or 0.
    """
    result, *kinds = kinds
    columns = [np.atleast_1d(np.asarray(column, NUMPY[kind])) for column, kind in zip(operands, kinds)]
    count = max(len(column) for column in columns)
    body, buffers, names = "", [], {}
    for place, (name, column, kind) in enumerate(zip("abce", columns, kinds)):
        size = column.dtype.itemsize
        buffers.append(np.resize(column, count).view(np.uint8).tobytes().ljust(1024, b"\0"))
        names[name] = register(kind, str(place + 1))
        body += f"mad.wide.u32 %d5, %r0, {size}, %d0; ld.global.b{8 * size} {names[name]}, [%d5+{1024 * place}];\n"
    names["d"] = "%p1" if result == "pred" else register(result, "8")
    body += instruction.format(**names) + "\n"
    size = 4 if result == "pred" else max(2, np.dtype(NUMPY[result]).itemsize)
    if result == "pred":
        body += "selp.u32 %r8, 1, 0, %p1;\n"
    value = {2: "%h8", 4: "%r8", 8: "%d18"}[size]
    body += f"mad.wide.u32 %d5, %r0, {size}, %d1; st.global.b{8 * size} [%d5], {value};\n"
    device = Device({"test": HEAD + body + "ret;\n}\n"})
    out = device.memory.allocate(size * count)
    data = np.frombuffer(b"".join(buffers), np.uint8)
    device.launch("test", "test", (1,), count, [device.upload(data), out])
    kind = np.uint32 if result == "pred" else NUMPY[result]
    found = device.download(out, count, {2: np.uint16, 4: np.uint32, 8: np.uint64}[size])
    return found.view(kind) if np.dtype(kind).itemsize == size else found.astype(kind)
