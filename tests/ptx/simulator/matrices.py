"""Products of matrices by a warp: ldmatrix and mma.sync.

Fragments are as PTX ISA 9.7.14.5 lays them out. With lane = 4 * quad + in_quad, registers of `each` numbers and k
columns of A in halves of 4 * each:

    A (16 x k)  register i, number j: row quad + 8 * (i % 2), column in_quad * each + j + half * (i / 2)
    B (k x 8)   register i, number j: row in_quad * each + j + half * i, column quad
    C, D (16 x 8)  register i: row quad + 8 * (i / 2), column 2 * in_quad + i % 2

so that matrices and fragments are one array with its axes in another order.
"""

import re

import numpy as np

from .parse import address, vector
from .table import instruction, operands
from .types import WARP, Unknown


def e4m3(bytes_):
    """8-bit floats: sign, 4 bits of exponent with bias 7, 3 of mantissa; all ones are NaN, and there is no infinity
    (PTX ISA, 5.2.3)."""
    bits = bytes_.astype(np.int32)
    exponent, mantissa = bits >> 3 & 15, bits & 7
    size = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    size = np.where(bits & 127 == 127, np.nan, size)
    return np.where(bits & 128, -size, size)


def bf16(bits):
    """The upper half of an f32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)


def nibbles(words):
    """Signed 4-bit integers, the first in the lowest bits."""
    shifts = np.arange(0, 32, 4, dtype=np.uint32)
    return ((words[..., None] >> shifts & 15).astype(np.int64) ^ 8) - 8


# A type's numbers out of 32-bit words, in a last axis of their own. tf32 is an f32 whose last 13 bits do not count.
NUMBERS = {
    "f16": lambda w: w.view(np.float16).reshape(*w.shape, 2).astype(np.float64),
    "bf16": lambda w: bf16(w.view(np.uint16).reshape(*w.shape, 2)),
    "tf32": lambda w: (w & np.uint32(0xFFFFE000)).view(np.float32)[..., None].astype(np.float64),
    "e4m3": lambda w: e4m3(w.view(np.uint8).reshape(*w.shape, 4)),
    "s8": lambda w: w.view(np.int8).reshape(*w.shape, 4).astype(np.int64),
    "s4": nibbles,
}
BITS = {"f16": 16, "bf16": 16, "tf32": 32, "e4m3": 8, "s8": 8, "s4": 4}
# The depths that checks/fragments.py has the ISA's formulas for.
SHAPES = {"f16": (8, 16), "bf16": (16,), "tf32": (8,), "e4m3": (32,), "s8": (32,), "s4": (64,)}


@instruction("mma")
def multiply(program, statement):
    """mma.sync.aligned.m16n8kK.row.col: D = A B + C. Sums of floats are rounded once here, and in an order and to a
    precision of its own on a card."""
    found = re.fullmatch(
        r"sync\.aligned\.m16n8k(\d+)\.row\.col\.(f32|s32)\.(\w+)\.(\w+)\.(f32|s32)", ".".join(statement.modifiers)
    )
    if not found or found[2] != found[5] or found[3] != found[4] or int(found[1]) not in SHAPES.get(found[3], ()):
        raise Unknown(f"mma.{'.'.join(statement.modifiers)}")
    depth, kind, of_sum = int(found[1]), found[3], np.float32 if found[2] == "f32" else np.int32
    if (of_sum == np.int32) != (kind in ("s8", "s4")):
        raise Unknown(f"mma.{'.'.join(statement.modifiers)}")
    each = 32 // BITS[kind]
    d, a, b, c = (program.bank_rows(vector(operand)) for operand in operands(statement, 4))
    if (len(a), len(b), len(c), len(d)) != (depth // (4 * each) * 2, depth // (4 * each), 4, 4):
        raise Unknown(f"the number of registers of mma.{'.'.join(statement.modifiers)}")
    bank, numbers, halves = program.banks[32], NUMBERS[kind], len(b)

    def run(lanes):
        warps = len(program.whole_warps(lanes, "mma.sync")) // WARP
        left = numbers(np.ascontiguousarray(bank[a][:, lanes])).reshape(halves, 2, warps, 8, 4, each)
        left = left.transpose(2, 1, 3, 0, 4, 5).reshape(warps, 16, depth)
        right = numbers(np.ascontiguousarray(bank[b][:, lanes])).reshape(halves, warps, 8, 4, each)
        right = right.transpose(1, 0, 3, 4, 2).reshape(warps, depth, 8)
        product = (left @ right).reshape(warps, 2, 8, 4, 2).transpose(1, 4, 0, 2, 3).reshape(4, warps * WARP)
        total = (product + np.ascontiguousarray(bank[c][:, lanes]).view(of_sum)).astype(of_sum).view(np.uint32)
        for row, values in zip(d, total):
            bank[row, lanes] = values

    return run


@instruction("ldmatrix")
def load_matrices(program, statement):
    """ldmatrix: 8 x 8 matrices of 16-bit numbers. Lane i names row i % 8 of matrix i / 8, at 16 bytes' alignment; of
    each matrix a lane gets the pair that an mma fragment has there, or that of its transpose (PTX ISA, 9.7.14.5)."""
    found = re.fullmatch(r"sync\.aligned\.m8n8\.x([124])(\.trans)?\.shared\.b16", ".".join(statement.modifiers))
    if not found:
        raise Unknown(f"ldmatrix.{'.'.join(statement.modifiers)}")
    count, transposed = int(found[1]), bool(found[2])
    to, where = operands(statement, 2)
    results = [program.result(name, "b32") for name in vector(to)]
    base, offset = address(where)
    base, offset = program.source(base, "u32"), np.uint32(offset & (1 << 32) - 1)
    if len(results) != count:
        raise Unknown(f"{len(results)} registers for {count} matrices")

    def run(lanes):
        threads = program.whole_warps(lanes, "ldmatrix")
        names_a_row = threads % WARP < 8 * count
        rows = program.shared.load((base[lanes] + offset)[names_a_row], 16, threads[names_a_row], what="ldmatrix")
        matrices = rows.reshape(-1, count, 8, 8)
        if transposed:
            matrices = matrices.transpose(0, 1, 3, 2)
        pairs = np.ascontiguousarray(matrices).view(np.uint32).reshape(-1, count, WARP)
        for i, result in enumerate(results):
            result[lanes] = pairs[:, i].reshape(-1)

    return run
