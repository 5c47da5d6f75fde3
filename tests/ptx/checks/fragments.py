"""Products of matrices in the interpreter against the ISA's formulas for fragments, element by element (PTX ISA,
9.7.14.5 and 9.7.15.5): `matrices` and `wgmma` have them as orders of axes."""

import ml_dtypes
import numpy as np

from . import assembly
from .framework import FORMATS, Check, same

TYPES = {"f16": np.float16, "bf16": FORMATS["bf16"], "tf32": np.float32, "e4m3": ml_dtypes.float8_e4m3fn, "s8": np.int8}
BITS = {"f16": 16, "bf16": 16, "tf32": 32, "e4m3": 8, "s8": 8, "s4": 4}
# Type and depth of the products that kernels use, and how the ISA finds row and column of number i of a lane's A and B.
MMA = {
    ("f16", 8): (lambda g, t, i: (g + 8 * (i >= 2), 2 * t + i % 2), lambda g, t, i: (2 * t + i, g)),
    ("f16", 16): (
        lambda g, t, i: (g + 8 * (i % 4 >= 2), 2 * t + i % 2 + 8 * (i >= 4)),
        lambda g, t, i: (2 * t + i % 2 + 8 * (i >= 2), g),
    ),
    ("tf32", 8): (lambda g, t, i: (g + 8 * (i in (1, 3)), t + 4 * (i >= 2)), lambda g, t, i: (t + 4 * i, g)),
    ("s8", 32): (
        lambda g, t, i: (g + 8 * (i // 4 in (1, 3)), 4 * t + i % 4 + 16 * (i >= 8)),
        lambda g, t, i: (4 * t + i % 4 + 16 * (i >= 4), g),
    ),
    ("s4", 64): (
        lambda g, t, i: (g + 8 * (i // 8 in (1, 3)), 8 * t + i % 8 + 32 * (i >= 16)),
        lambda g, t, i: (8 * t + i % 8 + 32 * (i >= 8), g),
    ),
}
MMA["bf16", 16], MMA["e4m3", 32] = MMA["f16", 16], MMA["s8", 32]


def packed(values, kind):
    """Integers of a lane in their type, as 32-bit words."""
    if kind == "s4":
        nibbles = (values & 15).astype(np.uint8)
        return (nibbles[0::2] | nibbles[1::2] << 4).view(np.uint32)
    return values.astype(TYPES[kind]).view(np.uint32)


def mma(numbers, kind, depth):
    """One product of two warps, fragments filled by the formulas."""
    of_a, of_b = MMA[kind, depth]
    integer = kind in ("s8", "s4")
    a, b = (numbers.integers(-7, 8, (2, *shape)) for shape in ((16, depth), (depth, 8)))
    c = numbers.integers(-99, 99, (2, 16, 8))
    per_register = 32 // BITS[kind]
    registers = [16 * depth // 32 // per_register, 8 * depth // 32 // per_register, 4]
    words = np.zeros((64, sum(registers)), np.uint32)
    for thread in range(64):
        warp, group, within = thread // 32, thread % 32 // 4, thread % 4
        lane_a = np.array([a[warp][of_a(group, within, i)] for i in range(registers[0] * per_register)])
        lane_b = np.array([b[warp][of_b(group, within, i)] for i in range(registers[1] * per_register)])
        lane_c = np.array([c[warp, group + 8 * (i >= 2), 2 * within + i % 2] for i in range(4)])
        of_c = lane_c.astype(np.int32 if integer else np.float32).view(np.uint32)
        words[thread] = [*packed(lane_a, kind), *packed(lane_b, kind), *of_c]
    names = [f"%r{i + 10}" for i in range(sum(registers))]
    body = f"mad.wide.u32 %d5, %r0, {4 * sum(registers)}, %d0; mad.wide.u32 %d6, %r0, 16, %d1;\n"
    body += "".join(f"ld.global.u32 {name}, [%d5+{4 * i}];\n" for i, name in enumerate(names))
    cut = np.cumsum([0, *registers])
    parts = ["{" + ", ".join(names[cut[i] : cut[i + 1]]) + "}" for i in range(3)]
    of_sum = "s32" if integer else "f32"
    body += f"mma.sync.aligned.m16n8k{depth}.row.col.{of_sum}.{kind}.{kind}.{of_sum} {{%r1, %r2, %r3, %r4}}, "
    body += ", ".join(parts) + ";\nst.global.v4.u32 [%d6], {%r1, %r2, %r3, %r4};"
    found = assembly.run(body, words, 64, 256).view(np.int32 if integer else np.float32).reshape(2, 8, 4, 4)
    wanted = a @ b + c
    got = np.zeros((2, 16, 8))
    for i in range(4):
        for within in range(4):
            got[:, np.arange(8) + 8 * (i >= 2), 2 * within + i % 2] = found[:, :, within, i]
    same(got, wanted, f"mma of {kind}, k {depth}")


def ldmatrix(numbers, transposed):
    """Four matrices out of rows that lie anywhere: lane l of matrix m gets row l / 4, columns 2 (l % 4) and the next;
    transposed, column l / 4 of these two rows."""
    rows = numbers.integers(0, 1 << 16, (32, 8)).astype(np.uint16)
    place = numbers.permutation(32).astype(np.uint32)  # row r of all lies at unit place[r]
    memory = np.zeros((32, 8), np.uint16)
    memory[place] = rows
    words = np.concatenate([memory.reshape(-1).view(np.uint32), place])
    body = f"""mov.u32 %r1, fixed; mad.wide.u32 %d5, %r0, 16, %d0; shl.b32 %r2, %r0, 4; add.u32 %r2, %r2, %r1;
        ld.global.v4.u32 {{%r3, %r4, %r5, %r6}}, [%d5]; st.shared.v4.u32 [%r2], {{%r3, %r4, %r5, %r6}}; bar.sync 0;
        ld.global.u32 %r7, [%d3+512]; shl.b32 %r7, %r7, 4; add.u32 %r7, %r7, %r1;
        ldmatrix.sync.aligned.m8n8.x4{".trans" if transposed else ""}.shared.b16 {{%r3, %r4, %r5, %r6}}, [%r7];
        mad.wide.u32 %d6, %r0, 16, %d1; st.global.v4.u32 [%d6], {{%r3, %r4, %r5, %r6}};"""
    got = assembly.run(body, words, 32, 128).view(np.uint16).reshape(32, 4, 2)
    wanted = np.zeros((32, 4, 2), np.uint16)
    for lane in range(32):
        for matrix in range(4):
            for half in range(2):
                row, column = lane // 4, lane % 4 * 2 + half
                row, column = (column, row) if transposed else (row, column)
                wanted[lane, matrix, half] = rows[8 * matrix + row, column]
    same(got, wanted, "ldmatrix")


def wgmma(numbers):
    """64 x 8 sums of 16 columns, with tiles laid out by the ISA's formula: 16-byte unit u of row r at
    Swizzle<3, 4, 3> of (r / 8) * stride + (r % 8) * 128 + 16 u, where bits 7 to 9 of an address are added to bits 4 to
    6 without carry. A second warpgroup has tiles of its own, and both add to what they have."""
    swizzle = lambda at: at ^ (at & 0x380) >> 3  # noqa: E731
    a, b = numbers.integers(-7, 8, (2, 64, 16)), numbers.integers(-7, 8, (2, 8, 16))
    memory, k_offset = np.zeros(2 * 10240, np.uint8), 64  # the third 32 bytes of the rows
    for group in range(2):
        for matrix, first in ((a, 0), (b, 8192)):
            for row, values in enumerate(matrix[group]):
                for unit in range(2):
                    at = swizzle(first + row // 8 * 1024 + row % 8 * 128 + k_offset + 16 * unit) + 10240 * group
                    memory[at : at + 16] = values[8 * unit : 8 * unit + 8].astype(np.float16).view(np.uint8)
    # dynamic[] begins behind the 4096 bytes of fixed[], at a multiple of 1024.
    body = """mov.u32 %r1, dynamic; mov.u32 %r10, %r0; mov.u32 %r9, fixed; st.shared.u32 [%r9], 0;
        $copy: shl.b32 %r2, %r10, 2; cvt.u64.u32 %d5, %r2; add.s64 %d5, %d5, %d0; ld.global.u32 %r3, [%d5];
        add.u32 %r2, %r2, %r1; st.shared.u32 [%r2], %r3; add.u32 %r10, %r10, 256; setp.lt.u32 %p1, %r10, 5120;
        @%p1 bra $copy; fence.proxy.async; bar.sync 0;
        shr.u32 %r4, %r0, 7; mad.lo.u32 %r4, %r4, 10240, %r1; add.u32 %r4, %r4, 64; shr.u32 %r4, %r4, 4;
        cvt.u64.u32 %d6, %r4; or.b64 %d6, %d6, 0x4000004000010000; add.s64 %d7, %d6, 512;
        mov.u32 %r20, 0; mov.u32 %r21, 0; mov.u32 %r22, 0; mov.u32 %r23, 0; setp.eq.s32 %p2, %r20, 1;
        setp.eq.s32 %p3, %r20, 0;
        wgmma.fence.sync.aligned;
        wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%r20, %r21, %r22, %r23}, %d6, %d7, %p2, 1, 1, 0, 0;
        wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%r20, %r21, %r22, %r23}, %d6, %d7, %p3, 1, 1, 0, 0;
        wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;
        mad.wide.u32 %d6, %r0, 16, %d1; st.global.v4.u32 [%d6], {%r20, %r21, %r22, %r23};"""
    body = body.replace("st.shared.u32 [%r9], 0;", "")
    got = assembly.run(body, memory, 256, 1024, dynamic=2 * 10240).view(np.float32).reshape(2, 128, 4)
    wanted = 2 * np.einsum("grk,gck->grc", a, b)
    for i in range(4):
        thread = np.arange(128)
        row, column = 16 * (thread // 32) + thread % 32 // 4 + 8 * (i // 2), 2 * (thread % 4) + i % 2
        same(got[:, :, i], wanted[:, row, column], f"register {i} of wgmma")


def checks():
    """Every type and depth of mma that kernels use, ldmatrix both ways, wgmma."""
    for kind, depth in MMA:
        yield Check(f"PTX ISA: mma of {kind}, k {depth}", lambda d, n, s=(kind, depth): mma(n, *s))
    for transposed in (False, True):
        name = f"PTX ISA: ldmatrix{' transposed' if transposed else ''}"
        yield Check(name, lambda d, n, transposed=transposed: ldmatrix(n, transposed))
    yield Check("PTX ISA: wgmma", lambda d, n: wgmma(n))
