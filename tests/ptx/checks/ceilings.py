"""The kernels that measure what a card can do: memory, latency, multiply-adds and tensor cores."""

import numpy as np

from . import host
from .framework import FORMATS, Check, mix, same

BANDWIDTH, LATENCY = "bandwidth.sm_70", "latency.sm_70"


def random_words(count, seed):
    """What fill_random writes."""
    return mix(np.arange(count, dtype=np.uint32) ^ mix(np.uint32(seed)))


def xor_of(words):
    """The xor of all words."""
    return np.bitwise_xor.reduce(words, axis=None)


def threads():
    """Threads of a block, which all of these kernels share."""
    return host.constant(f"{host.CEILINGS}/mod.rs", "THREADS")


def memory(device, numbers, tiles=5, tail=37):
    """Bandwidth kernels on whole tiles of 4 * 256 units and a tail, with fewer and with more blocks than tiles."""
    units = tiles * 1024 + tail
    words = 4 * units
    wanted = random_words(words, 1)
    array, copy, out = device.room(words, np.uint32), device.room(words, np.uint32), device.room(9, np.uint32)
    device.launch(BANDWIDTH, "fill_random", (3,), threads(), [array, words, 1])
    same(device.download(array, words, np.uint32), wanted, "fill_random")
    for blocks in (4, 9):
        device.launch(BANDWIDTH, "read_bandwidth", (blocks,), threads(), [array, units, out])
        same(xor_of(device.download(out, blocks, np.uint32)), xor_of(wanted), "read_bandwidth")
        device.launch(BANDWIDTH, "l2_bandwidth", (blocks,), threads(), [array, units, 3, out])
        same(xor_of(device.download(out, blocks, np.uint32)), xor_of(wanted), "l2_bandwidth")
    device.launch(BANDWIDTH, "copy_bandwidth", (3,), threads(), [copy, array, units])
    same(device.download(copy, words, np.uint32), wanted, "copy_bandwidth")
    device.launch(BANDWIDTH, "write_bandwidth", (2,), threads(), [copy, units, 7])
    pattern = np.arange(words, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(7)
    same(device.download(copy, words, np.uint32), pattern, "write_bandwidth")
    b, c = (numbers.random(words).astype(np.float32) for _ in range(2))
    device.launch(BANDWIDTH, "triad_bandwidth", (3,), threads(), [copy, device.upload(b), device.upload(c), 3.0, units])
    triad = (3.0 * c.astype(np.float64) + b).astype(np.float32)  # 26 bits of product: the double is exact
    same(device.download(copy, words, np.float32), triad, "triad_bandwidth")


def fill(device, numbers, kind, words=3000):
    """Halves of random words as floats between -1 and 1."""
    array = device.room(words, np.uint32)
    device.launch(BANDWIDTH, f"fill_{kind}", (3,), threads(), [array, words, 5, 0.5])
    halves = random_words(words, 5).view(np.int16).astype(np.float32) * np.float32(0.5 / 32768)
    same(device.download(array, 2 * words, FORMATS[kind]), halves.astype(FORMATS[kind]), f"fill_{kind}")


def latency(device, numbers, links=64, steps=37):
    """A chain of loads, a number of steps that is no multiple of the unrolled loop; and nothing at all."""
    link = host.constant(f"{host.CEILINGS}/latency.rs", "LINK_WORDS")
    cycle = np.roll(np.arange(links), 11)
    words = np.zeros(links * link, np.uint32)
    words[np.arange(links) * link] = cycle * link
    last, at = device.room(1, np.uint32), 0
    device.launch(LATENCY, "pointer_chase", (1,), 1, [device.upload(words), 0, steps, last])
    for _ in range(steps):
        at = cycle[at]
    same(device.download(last, 1, np.uint32), [at * link], "where the chain ended")
    device.launch(LATENCY, "empty", (1,), 1, [])


def rounded(exact, dtype):
    """Products of 16-bit formats and their sum in double precision, rounded to the format."""
    return exact.astype(np.float32).astype(dtype) if dtype is FORMATS["bf16"] else exact.astype(dtype)


def multiply_add(device, numbers, file, kind, rounds=2):
    """Every step of a short run, with the numbers that the host checks with, then with those that it measures with."""
    source = f"{host.CEILINGS}/arithmetic.rs"
    chains, steps = host.constant(source, "CHAINS"), host.constant(source, "STEPS")
    host.follows(source, "let (a, b) = (0.75, 0.3);", "(format.argument)(-1.0), (format.argument)(1.0)")
    count = 2 * threads()
    out, r = device.room(count, np.uint32), mix(np.arange(count * chains))
    # A long double holds product and sum of two floats with bits to spare, those of 16-bit formats exactly.
    for a, b in ((0.75, 0.3), (-1.0, 1.0)):
        if kind == "f32":
            arguments = [np.float32(a), np.float32(b)]
            starts, dtype = [(r >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)], np.float32
        else:
            dtype = FORMATS[kind]
            arguments = [int(np.array(value, dtype).view(np.uint16)) * 0x10001 for value in (a, b)]
            size = np.uint32(2048 if kind == "f16" else 256)
            starts = [((r >> np.uint32(shift)) % size / size).astype(dtype) for shift in (0, 16)]
        device.launch(file, f"fma_{kind}", (2,), threads(), [out, rounds, *arguments])
        factor, shift = (np.array(value, dtype).astype(np.longdouble) for value in (a, b))
        word = np.zeros(count * chains, np.uint32)
        for place, x in enumerate(starts):
            for _ in range(rounds * steps):
                exact = x.astype(np.longdouble) * factor + shift
                x = exact.astype(dtype) if kind == "f32" else rounded(exact.astype(np.float64), dtype)
            bits = x.view(np.uint32) if kind == "f32" else x.view(np.uint16).astype(np.uint32)
            word |= bits << np.uint32(16 * place)
        wanted = np.bitwise_xor.reduce(word.reshape(count, chains), axis=1)
        same(device.download(out, count, np.uint32), wanted, f"fma_{kind}")


def operand(count):
    """The host's operands: between -7 and 7, so that sums are exact in every type."""
    host.follows(f"{host.CEILINGS}/tensor.rs", "(mix(at as u32) % 15) as i32 - 7")
    return (mix(np.arange(count)) % np.uint32(15)).astype(np.int64) - 7


def encoded(values, kind):
    """Integers in a type of the tensor cores, packed into words."""
    import ml_dtypes

    if kind == "s4":
        nibbles = (values & 15).astype(np.uint8)
        return nibbles[0::2] | nibbles[1::2] << 4
    types = {"tf32": np.float32, "s8": np.int8, "e4m3": ml_dtypes.float8_e4m3fn, **FORMATS}
    return values.astype(types[kind])


def tensor(device, numbers, file, layout_name, kind, rounds=3, blocks=2):
    """Products with operands in registers (tensor.cu) or in shared memory (wgmma.cu)."""
    layout = host.layout(layout_name)
    groups, slices, rows, columns, words = (layout[key] for key in ("groups", "slices", "rows", "columns", "words"))
    each = {"tf32": 1, "f16": 2, "bf16": 2, "s8": 4, "e4m3": 4, "s4": 8}[kind]
    depth = words * each
    values = operand(groups * slices * (rows + columns) * depth)
    sums = groups * rows * columns
    of_sum = np.int32 if kind in ("s8", "s4") else np.float32
    out = device.room(blocks * sums, of_sum)
    name = f"tensor_wgmma_{kind}" if layout_name == "WGMMA" else f"tensor_{kind}"
    arguments = [device.upload(encoded(values, kind)), rounds, out]
    device.launch(file, name, (blocks,), threads(), arguments, layout["shared_bytes"])
    of_group = values.reshape(groups, -1)
    a = of_group[:, : slices * rows * depth].reshape(groups, slices, rows, depth)
    b = of_group[:, slices * rows * depth :].reshape(groups, slices, columns, depth)
    wanted = np.einsum("gsrk,gsck->grc", a, b) * rounds
    got = device.download(out, (blocks, groups, rows, columns), of_sum)
    same(got, np.broadcast_to(wanted, got.shape), "the sums")


def checks():
    """Every kernel, for every target that has it."""
    yield Check("memory: fill, read, copy, write, triad, second cache", memory)
    yield Check("memory: less than a tile", lambda d, n: memory(d, n, tiles=0, tail=300), reverse=True)
    for kind in FORMATS:
        yield Check(f"fill {kind}", lambda d, n, kind=kind: fill(d, n, kind))
    yield Check("latency", latency)
    for file, kinds in (("fma.sm_70", ("f32", "f16")), ("fma.sm_80", ("f32", "f16", "bf16"))):
        for kind in kinds:
            yield Check(f"fma {file.split('.')[1]} {kind}", lambda d, n, s=(file, kind): multiply_add(d, n, *s))
    every = ("f16", "bf16", "tf32", "s8", "s4")
    for file, kinds in (("tensor.sm_75", ("f16",)), ("tensor.sm_80", every), ("tensor.sm_89", (*every, "e4m3"))):
        for kind in kinds:
            run = lambda d, n, s=(file, "MMA", kind): tensor(d, n, *s)  # noqa: E731
            yield Check(f"tensor {file.split('.')[1]} {kind}", run)
    for kind in ("f16", "bf16", "e4m3", "s8"):
        yield Check(f"wgmma {kind}", lambda d, n, kind=kind: tensor(d, n, "wgmma.sm_90a", "WGMMA", kind))
