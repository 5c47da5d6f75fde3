"""The interpreter against facts of the PTX ISA: each value below is what its text, tables or pseudo code give, worked
out by hand or element by element, and not by the interpreter's own way."""

from fractions import Fraction

import numpy as np

from simulator.matrices import e4m3

from . import assembly
from .assembly import apply
from .framework import Check, Wrong, same

NAN = 0x7FFFFFFF
INFINITY = 0x7F800000


def equal(instruction, kinds, wanted, *operands):
    """That an instruction gives these bits."""
    same(apply(instruction, kinds, *operands), np.asarray(wanted), f"`{instruction}`")


def bits(values):
    """The bits of f32."""
    return np.asarray(values, np.float32).view(np.uint32)


def shifts():
    """9.7.8.8, 9.7.8.9: amounts above the width count as the width."""
    amounts = [0, 1, 31, 32, 33, 255, 1 << 31]
    value = 0x80000003
    equal("shl.b32 {d}, {a}, {b};", ("b32", "b32", "u32"), [value, 6, 1 << 31, 0, 0, 0, 0], value, amounts)
    equal("shr.u32 {d}, {a}, {b};", ("u32", "u32", "u32"), [value, 0x40000001, 1, 0, 0, 0, 0], value, amounts)
    signed = [value, 0xC0000001, *[0xFFFFFFFF] * 5]
    equal("shr.s32 {d}, {a}, {b};", ("u32", "u32", "u32"), signed, value, amounts)
    equal("shl.b64 {d}, {a}, {b};", ("b64", "b64", "u32"), [1 << 63, 0, 0], 1, [63, 64, 4096])
    equal("shr.s16 {d}, {a}, {b};", ("u16", "u16", "u32"), [0xFFFF, 0xFFFF, 0xF800], 0x8000, [15, 16, 4])


def bit_fields():
    """9.7.1.19, 9.7.1.20: the pseudo code, bit by bit, with positions and lengths beyond the top and above 255."""
    random = np.random.default_rng(1)
    position = np.array([0, 0, 4, 31, 32, 28, 8, 255, 260, 0, 16, 40])
    length = np.array([0, 32, 8, 1, 5, 8, 0, 255, 8, 255, 16, 40])
    a = random.integers(0, 1 << 32, len(position), np.uint64)
    a |= np.uint64(1 << 31)
    b = random.integers(0, 1 << 32, len(position), np.uint64)
    unsigned, signed, inserted = [], [], []
    for x, y, at, n in zip(map(int, a), map(int, b), position & 255, length & 255):
        sign = 0 if n == 0 else x >> min(at + n - 1, 31) & 1
        bit = lambda i, fill: x >> (at + i) & 1 if i < n and at + i <= 31 else fill  # noqa: B023, E731
        unsigned.append(sum(bit(i, 0) << i for i in range(32)))
        signed.append(sum(bit(i, sign) << i for i in range(32)))
        for i in range(n):
            if at + i <= 31:
                y = y & ~(1 << at + i) | (x >> i & 1) << at + i
        inserted.append(y)
    kinds = ("u32", "u32", "u32", "u32")
    equal("bfe.u32 {d}, {a}, {b}, {c};", kinds, unsigned, a, position, length)
    equal("bfe.s32 {d}, {a}, {b}, {c};", kinds, signed, a, position, length)
    equal("bfi.b32 {d}, {a}, {b}, {c}, {e};", (*kinds, "u32"), inserted, a, b, position, length)


def permutations():
    """9.7.9, prmt: selectors and their sign bit, and the tables of the six modes."""
    a, b = 0x83020180, 0x87060504  # byte i is i, with the top bit in bytes 0, 3 and 7
    value = [0x80, 1, 2, 0x83, 4, 5, 6, 0x87]
    generic = {0x3210: a, 0x7654: b, 0x0123: 0x80010283, 0xB8F9: 0xFFFFFF00, 0x8C10: 0xFF000180, 0x13210: a}
    equal("prmt.b32 {d}, {a}, {b}, {c};", ["b32"] * 4, list(generic.values()), a, b, list(generic))
    modes = {
        "f4e": ["3210", "4321", "5432", "6543"], "b4e": ["5670", "6701", "7012", "0123"],
        "rc8": ["0000", "1111", "2222", "3333"], "ecl": ["3210", "3211", "3222", "3333"],
        "ecr": ["0000", "1110", "2210", "3210"], "rc16": ["1010", "3232", "1010", "3232"],
    }  # fmt: skip
    for mode, rows in modes.items():
        wanted = [sum(value[int(source)] << 24 - 8 * i for i, source in enumerate(row)) for row in rows]
        equal(f"prmt.b32.{mode} {{d}}, {{a}}, {{b}}, {{c}};", ["b32"] * 4, wanted, a, b, [0, 1, 2, 7])


def products():
    """mul.lo, .hi, .wide, mad, and sums, all of which wrap; div and rem go toward zero."""
    a, b = [0xFFFFFFFF, 0x80000000, 7], [0xFFFFFFFF, 2, 0xFFFFFFFE]
    equal("mul.lo.s32 {d}, {a}, {b};", ["u32"] * 3, [1, 0, 0xFFFFFFF2], a, b)
    equal("mul.hi.u32 {d}, {a}, {b};", ["u32"] * 3, [0xFFFFFFFE, 1, 6], a, b)
    equal("mul.hi.s32 {d}, {a}, {b};", ["u32"] * 3, [0, 0xFFFFFFFF, 0xFFFFFFFF], a, b)
    equal("mul.wide.u32 {d}, {a}, {b};", ("u64", "u32", "u32"), [0xFFFFFFFE00000001, 1 << 32, 0x6FFFFFFF2], a, b)
    equal("mul.wide.s32 {d}, {a}, {b};", ("s64", "s32", "s32"), [1, -(1 << 32), -14], [-1, -(1 << 31), 7], [-1, 2, -2])
    equal("mul.wide.u16 {d}, {a}, {b};", ("u32", "u16", "u16"), [0xFFFE0001], 0xFFFF, 0xFFFF)
    equal("mul.hi.u64 {d}, {a}, {b};", ["u64"] * 3, [(1 << 64) - 2], (1 << 64) - 1, (1 << 64) - 1)
    equal("mad.lo.s32 {d}, {a}, {b}, {c};", ["u32"] * 4, [0], 0xFFFF, 0x10001, 1)
    kinds = ("u64", "u32", "u32", "u64")
    equal("mad.wide.u32 {d}, {a}, {b}, {c};", kinds, [0xFFFFFFFE00000002], 0xFFFFFFFF, 0xFFFFFFFF, 1)
    equal("add.s32 {d}, {a}, {b};", ["u32"] * 3, [0], 0xFFFFFFFF, 1)
    equal("div.s32 {d}, {a}, {b};", ["s32"] * 3, [-3, -3, 3, 3], [-7, 7, -7, 7], [2, -2, -2, 2])
    equal("rem.s32 {d}, {a}, {b};", ["s32"] * 3, [-1, 1, -1, 1], [-7, 7, -7, 7], [2, -2, -2, 2])
    least, most = -2139062144, 0x7F7F7F7F  # four times -128, four times 127
    sums = [4 * 128 * 128 + 5, -4 * 128 * 127]
    equal("dp4a.s32.s32 {d}, {a}, {b}, {c};", ["s32"] * 4, sums, least, [least, most], [5, 0])
    equal("dp4a.u32.u32 {d}, {a}, {b}, {c};", ["u32"] * 4, [4 * 255 * 255 + 1], 0xFFFFFFFF, 0xFFFFFFFF, 1)


def conversions():
    """9.7.9, cvt, 6.5: floats to integers are rounded as named, clamped, and NaN is 0; narrow integers are extended."""
    x = [2.5, 3.5, -2.5, 0.75, -0.75, 3e9, -3e9, np.inf, -np.inf, np.nan]
    most, least = (1 << 31) - 1, -(1 << 31)
    rni = [2, 4, -2, 1, -1, most, least, most, least, 0]
    rzi = [2, 3, -2, 0, 0, most, least, most, least, 0]
    equal("cvt.rni.s32.f32 {d}, {a};", ("s32", "f32"), rni, x)
    equal("cvt.rzi.s32.f32 {d}, {a};", ("s32", "f32"), rzi, x)
    equal("cvt.rmi.s32.f32 {d}, {a};", ("s32", "f32"), [2, 3, -3, 0, -1, *rzi[5:]], x)
    equal("cvt.rpi.s32.f32 {d}, {a};", ("s32", "f32"), [3, 4, -2, 1, 0, *rzi[5:]], x)
    full = (1 << 32) - 1
    equal("cvt.rzi.u32.f32 {d}, {a};", ("u32", "f32"), [2, 3, 0, 0, 0, 3_000_000_000, 0, full, 0, 0], x)
    equal("cvt.rni.f32.f32 {d}, {a};", ("u32", "f32"), bits([2, 4, -2, 1, -1]), x[:5])
    equal("cvt.rn.f32.u32 {d}, {a};", ("f32", "u32"), [16777216, 16777220, 4294967296], [16777217, 16777219, full])
    # Halfway between two halves: to the even one; 65520 is the least that becomes infinite, 2^-25 the largest zero.
    halves = [1 + 2**-11, 1 + 3 * 2**-11, 65519.99, 65520, 2**-25, 2**-25 * 1.01, -0.0, np.nan]
    equal("cvt.rn.f16.f32 {d}, {a};", ("u16", "f32"), [0x3C00, 0x3C02, 0x7BFF, 0x7C00, 0, 1, 0x8000, 0x7FFF], halves)
    equal("cvt.f32.f16 {d}, {a};", ("f32", "u16"), [1, -(2.0**-24), np.inf], [0x3C00, 0x8001, 0x7C00])
    equal("cvt.s32.s8 {d}, {a};", ("s32", "u32"), [-1, 127, -128], [0xFF, 0x7F, 0x180])
    equal("cvt.u32.u8 {d}, {a};", ("u32", "u32"), [0xFF, 0x80], [0xFFF, 0x180])
    equal("cvt.s64.s32 {d}, {a};", ("s64", "s32"), [-1], [-1])
    equal("cvt.u64.u32 {d}, {a};", ("u64", "u32"), [full], [full])
    equal("cvt.s16.s8 {d}, {a};", ("u16", "u16"), [0xFF80], [0x1280])
    equal("cvt.u16.u32 {d}, {a};", ("u16", "u32"), [0x5678], [0x12345678])


def extremes():
    """9.7.3, min and max: NaN loses, two of them are the canonical one, and +0 is more than -0."""
    a = [np.nan, 1, np.nan, 0.0, -0.0, -np.inf, 2]
    b = [1, np.nan, np.nan, -0.0, 0.0, 5, 2]
    one, zero, minus_zero = bits([1, 0, -0.0])
    largest = [one, one, NAN, zero, zero, *bits([5, 2])]
    smallest = [one, one, NAN, minus_zero, minus_zero, *bits([-np.inf, 2])]
    equal("max.f32 {d}, {a}, {b};", ("u32", "f32", "f32"), largest, a, b)
    equal("min.f32 {d}, {a}, {b};", ("u32", "f32", "f32"), smallest, a, b)
    equal("max.s32 {d}, {a}, {b};", ["s32"] * 3, [1], -1, 1)
    equal("max.u32 {d}, {a}, {b};", ["u32"] * 3, [0xFFFFFFFF], 0xFFFFFFFF, 1)
    equal("abs.f32 {d}, {a};", ("u32", "u32"), [0x7FC00001, 0], [0xFFC00001, 0x80000000])
    equal("neg.f32 {d}, {a};", ("u32", "u32"), [0x80000000], [0])
    equal("abs.s32 {d}, {a};", ("u32", "u32"), [0x80000000, 5], [0x80000000, 0xFFFFFFFB])


def comparisons():
    """9.3.1: of NaN only ne's unordered sister and the others with a u hold; lo and the like compare unsigned."""
    a, b = [1, 1, 2, np.nan, 1, np.nan], [1, 2, 1, 1, np.nan, np.nan]
    plain = {"eq": "100000", "ne": "011000", "lt": "010000", "le": "110000", "gt": "001000", "ge": "101000"}
    for name, holds in plain.items():
        wanted = [int(c) for c in holds]
        equal(f"setp.{name}.f32 {{d}}, {{a}}, {{b}};", ("pred", "f32", "f32"), wanted, a, b)
        equal(f"setp.{name}u.f32 {{d}}, {{a}}, {{b}};", ("pred", "f32", "f32"), [*wanted[:3], 1, 1, 1], a, b)
    equal("setp.num.f32 {d}, {a}, {b};", ("pred", "f32", "f32"), [1, 1, 1, 0, 0, 0], a, b)
    equal("setp.nan.f32 {d}, {a}, {b};", ("pred", "f32", "f32"), [0, 0, 0, 1, 1, 1], a, b)
    equal("setp.lt.s32 {d}, {a}, {b};", ("pred", "u32", "u32"), [1, 0], [0xFFFFFFFF, 1], [1, 1])
    equal("setp.lt.u32 {d}, {a}, {b};", ("pred", "u32", "u32"), [0, 1], [0xFFFFFFFF, 0], [1, 1])
    equal("setp.lo.u32 {d}, {a}, {b};", ("pred", "u32", "u32"), [0, 1], [0xFFFFFFFF, 0], [1, 1])


def nearest(exact, mantissa, exponent):
    """A fraction as the nearest float, ties to even, that has so many bits of mantissa (the first included) and that
    least exponent, by whole numbers alone."""
    if exact == 0:
        return 0.0
    size = abs(exact)
    power = size.numerator.bit_length() - size.denominator.bit_length()
    power -= size < Fraction(2) ** power
    unit = Fraction(2) ** (max(power, exponent) - mantissa + 1)
    return float(round(exact / unit) * unit)  # round() takes ties to even


def fused():
    """9.7.3 and 9.7.4, fma: rounded once, also where product and sum lie just beside the middle between two floats."""
    random = np.random.default_rng(2)
    a, b, c = (random.standard_normal(32).astype(np.float32) for _ in range(3))
    # 1 + 2^-12, squared, is 2^-24 beyond a float's bits: the tie that a tiny addend decides. Rounding to double first
    # loses the addend.
    a[:4] = b[:4] = np.float32(1 + 2.0**-12)
    c[:4] = [2.0**-60, -(2.0**-60), 0, 2.0**-100]
    a[4], b[4], c[4] = 2.0**-100, 2.0**-40, 2.0**-149  # subnormal
    exact = lambda x, y, z: Fraction(float(x)) * Fraction(float(y)) + Fraction(float(z))  # noqa: E731
    wanted = [nearest(exact(*numbers), 24, -126) for numbers in zip(a, b, c)]
    equal("fma.rn.f32 {d}, {a}, {b}, {c};", ["f32"] * 4, wanted, a, b, c)
    for kind, mantissa, least in (("f16", 11, -14), ("bf16", 8, -126)):
        words, values = [], []
        for _ in range(3):
            values.append(np.array([nearest(Fraction(float(x)), mantissa, least) for x in random.standard_normal(64)]))
        for x, z in ((1 + 2.0 ** -(mantissa // 2 + 1), 2.0**-24), (1 + 2.0 ** -(mantissa // 2 + 1), -(2.0**-24))):
            values[0], values[1], values[2] = (np.roll(v, 1) for v in values)
            values[0][0] = values[1][0] = x
            values[2][0] = z if kind == "f16" else z * 2.0**-90
        for value in values:
            half = value.astype(np.float16).view(np.uint16) if kind == "f16" else bits(value) >> 16
            words.append(half.astype(np.uint32)[0::2] | half.astype(np.uint32)[1::2] << 16)
        rounded = np.array([nearest(exact(*numbers), mantissa, least) for numbers in zip(*values)])
        half = rounded.astype(np.float16).view(np.uint16) if kind == "f16" else bits(rounded) >> 16
        wanted = half.astype(np.uint32)[0::2] | half.astype(np.uint32)[1::2] << 16
        equal(f"fma.rn.{kind}x2 {{d}}, {{a}}, {{b}}, {{c}};", ["b32"] * 4, wanted, *words)


def roots():
    """Special values of ex2, rsqrt, rcp and div; .ftz makes subnormal numbers zeros of their sign."""
    x = [0, -np.inf, np.inf, 3, -127, -1e-40]
    equal("ex2.approx.ftz.f32 {d}, {a};", ("u32", "f32"), bits([1, 0, np.inf, 8, 0, 1]), x)
    equal("ex2.approx.f32 {d}, {a};", ("u32", "f32"), bits([2.0**-127, 2.0**-149]), [-127, -149])
    equal("rsqrt.approx.f32 {d}, {a};", ("u32", "f32"), bits([0.5, np.inf, -np.inf, 0]), [4, 0, -0.0, np.inf])
    equal("rcp.rn.f32 {d}, {a};", ("u32", "f32"), bits([np.inf, -np.inf, 0, 0.25]), [0, -0.0, np.inf, 4])
    quotients = bits([1 / np.float32(3), np.inf, 0])
    equal("div.rn.f32 {d}, {a}, {b};", ("u32", "f32", "f32"), quotients, [1, 1, 1], [3, 0, np.inf])


def moves():
    """9.7.9, mov: parts of a register, the lowest first; 9.4.1: loads of narrow numbers are extended."""
    swap = "mov.b{0} {{{{{1}1, {1}2}}}}, {{a}}; mov.b{0} {{d}}, {{{{{1}2, {1}1}}}};"
    equal(swap.format(32, "%h"), ("u32", "u32"), [0x56781234], [0x12345678])
    equal(swap.format(64, "%r"), ("u64", "u64"), [0x9ABCDEF012345678], [0x123456789ABCDEF0])
    words = np.array([0x80FF, 0x7F01], np.uint32)
    body = """ld.global.s8 %r1, [%d3]; ld.global.u8 %r2, [%d3+1]; prmt.b32 %r3, %r1, %r2, 0x4210;
        st.global.u32 [%d4], %r3;"""
    same(assembly.run(body, words, threads=2), [0x80FFFFFF, 0x7F000001], "ld.global.s8 and u8")
    equal("setp.eq.s32 %p2, {a}, 3; selp.b32 {d}, {a}, {b}, %p2;", ["u32"] * 3, [3, 9], [3, 4], [8, 9])


def shuffles():
    """9.7.9, shfl.sync: the pseudo code, lane by lane, with clamps, segments and offsets beyond a warp."""
    lanes = range(32)
    for mode, offset, bound in (
        ("bfly", 16, 31), ("bfly", 3, 31), ("bfly", 17, 15), ("bfly", 9, 0x1807), ("idx", 5, 31), ("idx", 37, 31),
        ("idx", 6, 0x1C03), ("idx", 9, 7), ("up", 1, 0), ("up", 5, 0x1800), ("down", 4, 31), ("down", 3, 0x1807),
    ):  # fmt: skip
        segment, clamp, by = bound >> 8 & 31, bound & 31, offset & 31
        wanted = []
        for lane in lanes:
            highest, lowest = lane & segment | clamp & ~segment & 31, lane & segment
            source = {"up": lane - by, "down": lane + by, "bfly": lane ^ by, "idx": lowest | by & ~segment & 31}[mode]
            inside = source >= highest if mode == "up" else source <= highest
            wanted.append((100 + source if inside else 100 + lane) | inside << 16)
        body = f"""add.u32 %r1, %r0, 100;
            shfl.sync.{mode}.b32 %r2|%p1, %r1, {offset}, {bound}, -1;
            selp.u32 %r3, 65536, 0, %p1; or.b32 %r2, %r2, %r3; st.global.u32 [%d4], %r2;"""
        same(assembly.run(body, np.zeros(1)), wanted, f"shfl.sync.{mode} by {offset}, {bound:#x}")


def votes():
    """9.7.13, vote.sync: any, all and ballot of each warp for itself."""
    words = np.zeros(64, np.uint32)
    words[[3, 31]] = 1
    for form, first, second in (("any.pred %p2", 1, 0), ("all.pred %p2", 0, 0), ("ballot.b32 %r2", 1 << 31 | 8, 0)):
        last = "" if form.endswith("%r2") else "selp.u32 %r2, 1, 0, %p2;"
        body = f"""ld.global.u32 %r1, [%d3]; setp.ne.s32 %p1, %r1, 0; vote.sync.{form}, %p1, -1; {last}
            st.global.u32 [%d4], %r2;"""
        same(assembly.run(body, words, threads=64), [first] * 32 + [second] * 32, f"vote.sync.{form}")


def small_floats():
    """5.2.3: e4m3 has no infinity, NaN where all bits below the sign are ones, and 448 as its largest number."""
    codes = np.array([0, 1, 7, 8, 0x38, 0x3C, 0x7E, 0x81, 0xFE], np.uint8)
    same(e4m3(codes), [0, 2**-9, 7 * 2**-9, 2**-6, 1, 1.5, 448, -(2**-9), -448], "e4m3")
    if not np.isnan(e4m3(np.array([0x7F, 0xFF], np.uint8))).all():
        raise Wrong("0x7f and 0xff are NaN in e4m3")


def checks():
    """One check for each group of instructions."""
    for fact in (
        shifts, bit_fields, permutations, products, conversions, extremes, comparisons, fused, roots, moves, shuffles,
        votes, small_floats,
    ):  # fmt: skip
        yield Check(f"PTX ISA: {fact.__name__.replace('_', ' ')}", lambda device, numbers, fact=fact: fact())
