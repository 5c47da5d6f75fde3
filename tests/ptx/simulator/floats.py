"""Instructions on floats, and those that integers and floats share a name of."""

import numpy as np

from . import integers
from .table import elementwise, instruction, operands, typed
from .types import Unknown, is_float

SMALLEST_NORMAL = np.float32(2.0**-126)
NAN = {"f16": np.uint16(0x7FFF).view(np.float16), "f32": np.uint32(0x7FFFFFFF).view(np.float32)}


def to_odd(a, b, c):
    """a * b + c of numbers of at most 24 bits, in double precision and rounded to odd: where the sum is not exact, its
    last bit is 1. Rounding that to 24 bits or fewer is then rounding the exact sum, which rounding a nearest double is
    not (Boldo and Melquiond, 2008)."""
    product = a * b  # 48 bits: exact
    total = product + c
    part = total - product
    error = (product - (total - part)) + (c - part)
    with_error = np.isfinite(total) & (error != 0)
    if not with_error.any():
        return total
    bits = total.view(np.int64)
    even = with_error & (bits & 1 == 0)
    away = np.where((error > 0) == (total > 0), 1, -1)
    return np.where(even, bits + away, bits).view(np.float64)


def round_bf16(value):
    """The bits of doubles, made by `to_odd`, as bf16."""
    single = value.astype(np.float32)
    bits = single.view(np.uint32)
    # Down to a float that is rounded to odd as well: what is inexact and even steps toward the double.
    inexact = np.isfinite(single) & (single.astype(np.float64) != value) & (bits & 1 == 0)
    outward = np.abs(value) > np.abs(single.astype(np.float64))
    bits = np.where(inexact, np.where(outward, bits + 1, bits - 1), bits).astype(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & 1)) >> np.uint32(16)
    return np.where(np.isnan(value), 0x7FFF, rounded).astype(np.uint16)


def halves(words, is_bf16):
    """The low and high 16-bit floats of words, as doubles."""
    for shift in (0, 16):
        bits = (words >> np.uint32(shift)).astype(np.uint16)
        if is_bf16:
            yield (bits.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
        else:
            yield bits.view(np.float16).astype(np.float64)


@instruction("add", "sub")
def add(program, statement):
    """add and sub; floats round to nearest even, which .rn and nothing both mean."""
    function = np.add if statement.opcode == "add" else np.subtract
    if not is_float(statement.modifiers[-1]):
        return integers.integer_sum(program, statement, function)
    return float_pair(program, statement, function)


def float_pair(program, statement, function):
    """A float operation of two operands, .f32 or .f64."""
    kind = typed(statement, (), ("rn",))
    d, a, b = operands(statement, 3)
    return elementwise(function, program.result(d, kind), program.source(a, kind), program.source(b, kind))


@instruction("mul")
def multiply(program, statement):
    """mul."""
    if not is_float(statement.modifiers[-1]):
        return integers.integer_product(program, statement)
    return float_pair(program, statement, np.multiply)


@instruction("div")
def divide(program, statement):
    """div; of floats only the one rounded to nearest even, .rn."""
    if not is_float(statement.modifiers[-1]):
        return integers.division(program, statement)
    if statement.modifiers != ("rn", "f32"):
        raise Unknown(f"div.{'.'.join(statement.modifiers)}")
    return float_pair(program, statement, np.divide)


@instruction("fma")
def fused(program, statement):
    """fma.rn: rounded once. Of pairs of 16-bit floats, both halves at once; they keep subnormal numbers
    (PTX ISA, 9.7.4, fma)."""
    kind = typed(statement, ("rn",))
    d, *sources = operands(statement, 4)
    if kind not in ("f32", "f16x2", "bf16x2"):
        raise Unknown(f"fma.rn.{kind}")
    sources = [program.source(source, kind) for source in sources]

    def single(a, b, c):
        return to_odd(a.astype(np.float64), b.astype(np.float64), c.astype(np.float64)).astype(np.float32)

    def pairs(a, b, c):
        is_bf16 = kind == "bf16x2"
        result = []
        for x, y, z in zip(*(halves(words, is_bf16) for words in (a, b, c))):
            exact = to_odd(x, y, z)
            half = round_bf16(exact) if is_bf16 else canonical(exact.astype(np.float16), "f16").view(np.uint16)
            result.append(half.astype(np.uint32))
        return result[0] | result[1] << np.uint32(16)

    return elementwise(single if kind == "f32" else pairs, program.result(d, kind), *sources)


def canonical(values, kind):
    """NaN as the one that instructions give (PTX ISA, 9.7.3): all ones below the sign."""
    strange = np.isnan(values)
    return np.where(strange, NAN[kind], values) if strange.any() else values


@instruction("min", "max")
def extreme(program, statement):
    """min and max. Of floats: the other operand where one is NaN, and -0 is less than +0 (PTX ISA, 9.7.3)."""
    kind = typed(statement, ())
    d, a, b = operands(statement, 3)
    largest = statement.opcode == "max"
    sources = program.source(a, kind), program.source(b, kind)
    if not is_float(kind):
        return elementwise(np.maximum if largest else np.minimum, program.result(d, kind), *sources)
    if kind != "f32":
        raise Unknown(f"{statement.opcode}.{kind}")
    function, join = (np.fmax, np.bitwise_and) if largest else (np.fmin, np.bitwise_or)

    def run(x, y):
        result = canonical(function(x, y), kind)
        zeros = (x == 0) & (y == 0)
        if zeros.any():
            signs = join(x.view(np.uint32), y.view(np.uint32)).view(np.float32)
            result = np.where(zeros, signs, result)
        return result

    return elementwise(run, program.result(d, kind), *sources)


@instruction("neg", "abs")
def sign(program, statement):
    """neg and abs, which of a float change the sign's bit alone."""
    kind = typed(statement, ())
    d, a = operands(statement, 2)
    function = np.negative if statement.opcode == "neg" else np.abs
    return elementwise(function, program.result(d, kind), program.source(a, kind))


@instruction("rcp", "sqrt")
def rounded_root(program, statement):
    """rcp.rn and sqrt.rn."""
    kind = typed(statement, ("rn",))
    d, a = operands(statement, 2)
    if kind != "f32":
        raise Unknown(f"{statement.opcode}.rn.{kind}")
    function = np.sqrt if statement.opcode == "sqrt" else lambda x: np.float32(1) / x
    return elementwise(function, program.result(d, kind), program.source(a, kind))


@instruction("rsqrt", "ex2")
def approximate(program, statement):
    """rsqrt.approx and ex2.approx: here to the last bit, on a card to about two of them. .ftz takes and gives zeros
    for subnormal numbers."""
    kind = typed(statement, ("approx",), ("approx", "ftz"))
    if kind != "f32":
        raise Unknown(f"{statement.opcode}.approx.{kind}")
    d, a = operands(statement, 2)
    flush = "ftz" in statement.modifiers
    function = np.exp2 if statement.opcode == "ex2" else lambda x: 1 / np.sqrt(x)

    def run(x):
        result = function(flushed(x).astype(np.float64) if flush else x.astype(np.float64)).astype(np.float32)
        return flushed(result) if flush else result

    return elementwise(run, program.result(d, kind), program.source(a, kind))


def flushed(values):
    """Subnormal numbers as zeros of their sign."""
    return np.where(np.abs(values) < SMALLEST_NORMAL, np.copysign(np.float32(0), values), values)
