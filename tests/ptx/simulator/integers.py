"""Instructions on integers, bits and predicates."""

import numpy as np

from .table import elementwise, instruction, operands, typed
from .types import NUMPY, Fault, Unknown, is_float, size_of

WIDER = {"u16": "u32", "s16": "s32", "u32": "u64", "s32": "s64"}
LOGIC = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
COMPARE = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
UNSIGNED_COMPARE = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}


def integer_sum(program, statement, function):
    """add and sub of integers, which wrap."""
    kind = typed(statement, ())
    d, a, b = operands(statement, 3)
    return elementwise(function, program.result(d, kind), program.source(a, kind), program.source(b, kind))


def high_half(a, b, kind):
    """The upper half of a product."""
    if kind in WIDER:
        wide, bits = NUMPY[WIDER[kind]], 8 * size_of(kind)
        return ((a.astype(wide) * b.astype(wide)) >> wide(bits)).astype(NUMPY[kind])
    wrap = lambda value: (int(value) >> 64) & (1 << 64) - 1  # noqa: E731
    high = [wrap(int(x) * int(y)) for x, y in zip(a, b)]
    return np.array(high, np.uint64).view(NUMPY[kind])


def integer_product(program, statement):
    """mul.lo, mul.hi and mul.wide."""
    half, kind = statement.modifiers[0], typed(statement, ("lo",), ("hi",), ("wide",))
    d, a, b = operands(statement, 3)
    a, b = program.source(a, kind), program.source(b, kind)
    if half == "lo":
        return elementwise(np.multiply, program.result(d, kind), a, b)
    if half == "hi":
        return elementwise(lambda x, y: high_half(x, y, kind), program.result(d, kind), a, b)
    if kind not in WIDER:
        raise Unknown(f"mul.wide.{kind}")
    wide = NUMPY[WIDER[kind]]
    return elementwise(lambda x, y: x.astype(wide) * y.astype(wide), program.result(d, WIDER[kind]), a, b)


@instruction("mad")
def multiply_add(program, statement):
    """mad.lo, mad.hi and mad.wide of integers."""
    half, kind = statement.modifiers[0], typed(statement, ("lo",), ("hi",), ("wide",))
    d, a, b, c = operands(statement, 4)
    of_sum = WIDER.get(kind) if half == "wide" else kind
    if of_sum is None or is_float(kind):
        raise Unknown(f"mad.{half}.{kind}")
    products = {
        "lo": lambda x, y: x * y,
        "hi": lambda x, y: high_half(x, y, kind),
        "wide": lambda x, y: x.astype(NUMPY[of_sum]) * y.astype(NUMPY[of_sum]),
    }
    product = products[half]
    sources = program.source(a, kind), program.source(b, kind), program.source(c, of_sum)
    return elementwise(lambda x, y, z: product(x, y) + z, program.result(d, of_sum), *sources)


def division(program, statement):
    """div and rem: quotients go toward zero, and what a division by zero gives is left open (PTX ISA, 9.7.1, div)."""
    kind = typed(statement, ())
    d, a, b = operands(statement, 3)
    is_quotient = statement.opcode == "div"

    def divide(x, y):
        if (y == 0).any():
            raise Fault("an integer division by zero")
        quotient = x // y
        if kind[0] == "s":
            quotient += (x % y != 0) & ((x < 0) != (y < 0))
        return quotient if is_quotient else x - quotient * y

    return elementwise(divide, program.result(d, kind), program.source(a, kind), program.source(b, kind))


instruction("rem")(division)


@instruction("and", "or", "xor")
def logic(program, statement):
    """and, or, xor of bits or predicates."""
    kind = typed(statement, ())
    d, a, b = operands(statement, 3)
    function = LOGIC[statement.opcode]
    return elementwise(function, program.result(d, kind), program.source(a, kind), program.source(b, kind))


@instruction("not")
def complement(program, statement):
    """not of bits or a predicate."""
    kind = typed(statement, ())
    d, a = operands(statement, 2)
    return elementwise(np.invert, program.result(d, kind), program.source(a, kind))


@instruction("shl", "shr")
def shift(program, statement):
    """shl and shr: amounts beyond the width count as the width (PTX ISA, 9.7.8.8 and 9.7.8.9)."""
    kind = typed(statement, ())
    d, a, amount = operands(statement, 3)
    bits, number = 8 * size_of(kind), NUMPY[kind]
    left, signed = statement.opcode == "shl", kind[0] == "s"

    def run(x, count):
        inside = np.minimum(count, bits - 1).astype(number)
        shifted = x << inside if left else x >> inside
        if signed and not left:
            return shifted  # bits - 1 leaves nothing but the sign
        return np.where(count >= bits, number(0), shifted)

    return elementwise(run, program.result(d, kind), program.source(a, kind), program.source(amount, "u32"))


@instruction("bfi")
def insert_bits(program, statement):
    """bfi: the low bits of a into b. Position and length are their low 8 bits; what lies beyond the top bit is
    dropped (PTX ISA, 9.7.1.20)."""
    kind = typed(statement, ())
    d, a, b, position, length = operands(statement, 5)
    bits, number = 8 * size_of(kind), NUMPY[kind]

    def run(x, into, at, count):
        mask = field(at, count, bits)
        moved = np.where(at & 255 >= bits, 0, x.astype(np.uint64) << np.minimum(at & 255, 63).astype(np.uint64))
        return ((into.astype(np.uint64) & ~mask) | (moved & mask)).astype(number)

    sources = program.source(a, kind), program.source(b, kind)
    return elementwise(
        run, program.result(d, kind), *sources, program.source(position, "u32"), program.source(length, "u32")
    )


def field(position, length, bits):
    """The mask of `length` bits from `position`, cut off at `bits`."""
    position, length = (position & 255).astype(np.uint64), (length & 255).astype(np.uint64)
    end = np.minimum(position + length, bits)
    one = np.uint64(1)
    # 2^64 wraps to 0, whose predecessor is all ones.
    below = lambda n: np.where(n >= 64, ~np.uint64(0), (one << np.minimum(n, 63).astype(np.uint64)) - one)  # noqa: E731
    return below(end) & ~below(np.minimum(position, bits))


@instruction("bfe")
def extract_bits(program, statement):
    """bfe: a signed field goes on with its top bit, or with that of a where it reaches beyond it
    (PTX ISA, 9.7.1.19)."""
    kind = typed(statement, ())
    d, a, position, length = operands(statement, 4)
    bits, signed = 8 * size_of(kind), kind[0] == "s"
    unsigned = NUMPY[f"u{bits}"]

    def run(x, at, count):
        at, count = (at & 255).astype(np.int64), (count & 255).astype(np.int64)
        x = x.view(unsigned).astype(np.uint64)
        mask = field(at, count, bits)
        value = (x & mask) >> np.minimum(at, 63).astype(np.uint64)
        if signed:
            top = np.minimum(at + count - 1, bits - 1).clip(0).astype(np.uint64)
            sign = (x >> top & np.uint64(1)).astype(bool) & (count > 0)
            taken = np.clip(np.minimum(count, bits - at), 0, bits)
            filled = value | (~np.uint64(0) << np.minimum(taken, 63).astype(np.uint64))
            value = np.where(sign & (taken < bits), filled, value)
        return value.astype(unsigned).view(NUMPY[kind])

    sources = program.source(a, kind), program.source(position, "u32"), program.source(length, "u32")
    return elementwise(run, program.result(d, kind), *sources)


PERMUTE = {
    "f4e": lambda c, i: c + i, "b4e": lambda c, i: (c - i) & 7, "rc8": lambda c, i: c,
    "ecl": lambda c, i: np.maximum(c, i), "ecr": lambda c, i: np.minimum(c, i),
    "rc16": lambda c, i: 2 * (c & 1) + i % 2,
}  # fmt: skip


@instruction("prmt")
def permute(program, statement):
    """prmt: bytes of b:a by selectors; bit 3 of one makes all bits of its byte that byte's sign. A mode makes the four
    selectors out of the two low bits of c (PTX ISA, 9.7.9, prmt)."""
    mode = statement.modifiers[1:]
    if statement.modifiers[0] != "b32" or (mode and mode[0] not in PERMUTE):
        raise Unknown(f"prmt.{'.'.join(statement.modifiers)}")
    d, *sources = operands(statement, 4)

    def run(a, b, c):
        both = a.astype(np.uint64) | b.astype(np.uint64) << np.uint64(32)
        result = np.zeros(a.shape, np.uint32)
        for i in range(4):
            select = PERMUTE[mode[0]](c & 3, np.uint32(i)) if mode else c >> np.uint32(4 * i) & 15
            byte = (both >> (select & 7).astype(np.uint64) * np.uint64(8) & np.uint64(255)).astype(np.uint32)
            byte = np.where(select & 8 != 0, np.where(byte & 128 != 0, 255, 0), byte).astype(np.uint32)
            result |= byte << np.uint32(8 * i)
        return result

    return elementwise(run, program.result(d, "b32"), *(program.source(source, "b32") for source in sources))


@instruction("selp")
def select(program, statement):
    """selp: a where the predicate holds, else b."""
    kind = typed(statement, ())
    d, a, b, predicate = operands(statement, 4)
    sources = program.source(predicate, "pred"), program.source(a, kind), program.source(b, kind)
    return elementwise(np.where, program.result(d, kind), *sources)


@instruction("setp")
def set_predicate(program, statement):
    """setp: a NaN makes the plain comparisons of floats false, eq and ne too, and those with a u true
    (PTX ISA, 9.3.1.2)."""
    comparison, kind = statement.modifiers[0], statement.modifiers[-1]
    d, a, b = operands(statement, 3)
    if len(statement.modifiers) != 2 or "|" in d:
        raise Unknown(f"setp.{'.'.join(statement.modifiers)}")
    d, a, b = program.result(d, "pred"), program.source(a, kind), program.source(b, kind)
    if not is_float(kind):
        if comparison in UNSIGNED_COMPARE and kind[0] != "u" or comparison not in COMPARE | UNSIGNED_COMPARE:
            raise Unknown(f"setp.{comparison}.{kind}")
        return elementwise(COMPARE[UNSIGNED_COMPARE.get(comparison, comparison)], d, a, b)
    if comparison in ("num", "nan"):
        either = lambda x, y: (np.isnan(x) | np.isnan(y)) == (comparison == "nan")  # noqa: E731
        return elementwise(either, d, a, b)
    unordered = comparison[-1] == "u" and comparison[:-1] in COMPARE
    if not unordered and comparison not in COMPARE:
        raise Unknown(f"setp.{comparison}.{kind}")
    function = COMPARE[comparison[:-1] if unordered else comparison]

    def run(x, y):
        strange = np.isnan(x) | np.isnan(y)
        return function(x, y) | strange if unordered else function(x, y) & ~strange

    return elementwise(run, d, a, b)


@instruction("dp4a")
def dot_of_bytes(program, statement):
    """dp4a: four products of bytes, added to c; each side signed or not."""
    if any(kind not in ("s32", "u32") for kind in statement.modifiers) or len(statement.modifiers) != 2:
        raise Unknown(f"dp4a.{'.'.join(statement.modifiers)}")
    d, a, b, c = operands(statement, 4)
    of_a, of_b = (np.int8 if kind == "s32" else np.uint8 for kind in statement.modifiers)
    of_sum = "s32" if "s32" in statement.modifiers else "u32"

    def run(x, y, z):
        x = np.ascontiguousarray(x).view(of_a).reshape(-1, 4).astype(np.int64)
        y = np.ascontiguousarray(y).view(of_b).reshape(-1, 4).astype(np.int64)
        return ((x * y).sum(1) + z).astype(NUMPY[of_sum])

    sources = program.source(a, "b32"), program.source(b, "b32"), program.source(c, of_sum)
    return elementwise(run, program.result(d, of_sum), *sources)
