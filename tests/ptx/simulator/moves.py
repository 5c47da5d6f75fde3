"""Loads, stores, moves and conversions."""

import numpy as np

from .floats import canonical
from .parse import address, vector
from .table import elementwise, instruction, operands, typed
from .types import NUMPY, Unknown, is_float, size_of

# Hints to the caches, which change nothing of what is loaded. .nc is one more: a promise, which is checked.
HINTS = ("nc", "cg", "ca", "cs", "L1::no_allocate")


def access(program, statement, operand):
    """State space, width of a vector, type, and a function that gives the addresses of lanes."""
    space, *middle, kind = statement.modifiers
    count, hints = 1, []
    for modifier in middle:
        if modifier in ("v2", "v4"):
            count = int(modifier[1])
        else:
            hints.append(modifier)
    if space not in ("global", "shared") or any(hint not in HINTS for hint in hints):
        raise Unknown(f"the modifiers .{'.'.join(statement.modifiers)} of {statement.opcode}")
    base, offset = address(operand)
    base = program.source(base, "u64" if space == "global" else "u32")
    shift = base.dtype.type(offset & (1 << 8 * base.dtype.itemsize) - 1)
    locate = (lambda lanes: base[lanes]) if offset == 0 else (lambda lanes: base[lanes] + shift)
    return space, count, kind, hints, locate


@instruction("ld")
def load(program, statement):
    """ld from parameters, device memory or shared memory. A number narrower than its register is extended."""
    to, operand = operands(statement, 2)
    if statement.modifiers[0] == "param":
        return load_parameter(program, statement, to, operand)
    space, count, kind, hints, locate = access(program, statement, operand)
    results = [program.result(name, kind) for name in vector(to)]
    if len(results) != count:
        raise Unknown(f"{len(results)} registers for .v{count}")
    size, number, noncoherent = count * size_of(kind), NUMPY[kind], "nc" in hints

    def run(lanes):
        if space == "global":
            found = program.memory.load(locate(lanes), size, program.block, noncoherent)
        else:
            found = program.shared.load(locate(lanes), size, program.ids[lanes])
        found = found.view(number).reshape(-1, count)
        for i, result in enumerate(results):
            result[lanes] = found[:, i]

    return run


def load_parameter(program, statement, to, operand):
    """ld.param."""
    kind = typed(statement, ("param",))
    name, offset = address(operand)
    if name not in program.parameters or offset or program.parameters[name].dtype.itemsize != size_of(kind):
        raise Unknown(f"the parameter {operand}")
    return elementwise(np.asarray, program.result(to, kind), program.parameters[name].view(NUMPY[kind]))


@instruction("st")
def store(program, statement):
    """st to device memory or shared memory; a wider register gives its low part."""
    operand, value = operands(statement, 2)
    space, count, kind, _, locate = access(program, statement, operand)
    sources = [program.source(name, kind) for name in vector(value)]
    if len(sources) != count:
        raise Unknown(f"{len(sources)} registers for .v{count}")
    size = count * size_of(kind)
    element = {16: np.uint64}.get(size) or NUMPY[f"u{8 * size}"]

    def run(lanes):
        values = np.stack([source[lanes] for source in sources], 1)
        if space == "global":
            values = values.view(element)
            values = values if size == 16 else values[:, 0]
            program.memory.store(locate(lanes), size, values, program.block)
        else:
            program.shared.store(locate(lanes), size, values.view(np.uint16), program.ids[lanes])

    return run


@instruction("mov")
def move(program, statement):
    """mov, also of the parts of a register to or from several, the lowest first."""
    kind = typed(statement, ())
    to, value = operands(statement, 2)
    if not to.startswith("{") and not value.startswith("{"):
        return elementwise(np.asarray, program.result(to, kind), program.source(value, kind))
    parts = vector(to if to.startswith("{") else value)
    bits = 8 * size_of(kind) // len(parts)
    part, number = f"b{bits}", NUMPY[f"u{8 * size_of(kind)}"]
    if to.startswith("{"):
        whole = program.source(value, f"u{8 * size_of(kind)}")
        results = [program.result(name, part) for name in parts]

        def run(lanes):
            bits_of = whole[lanes]
            for i, result in enumerate(results):
                result[lanes] = (bits_of >> number(bits * i)).astype(NUMPY[part])
    else:
        result = program.result(to, f"u{8 * size_of(kind)}")
        sources = [program.source(name, part) for name in parts]

        def run(lanes):
            joined = sources[0][lanes].astype(number)
            for i, source in enumerate(sources[1:], 1):
                joined |= source[lanes].astype(number) << number(bits * i)
            result[lanes] = joined

    return run


@instruction("cvta")
def convert_address(program, statement):
    """cvta.to.global: generic addresses of device memory are its addresses."""
    kind = typed(statement, ("to", "global"))
    to, value = operands(statement, 2)
    return elementwise(np.asarray, program.result(to, kind), program.source(value, kind))


@instruction("cvt")
def convert(program, statement):
    """cvt. Between integers: cut off or extended. To an integer a float is clamped, and NaN becomes 0; to f16 what is
    too large becomes infinite (PTX ISA, 6.5 and 9.7.9, cvt)."""
    *rounding, to, of = statement.modifiers
    d, a = operands(statement, 2)
    result, source = program.result(d, to), program.source(a, of)
    function = converter(tuple(rounding), to, of)
    if function is None:
        raise Unknown(f"cvt.{'.'.join(statement.modifiers)}")
    return elementwise(function, result, source)


def converter(rounding, to, of):
    """The function of one form of cvt."""
    number = NUMPY.get(to)
    if not is_float(to) and not is_float(of):
        return (lambda x: x.astype(number)) if rounding == () else None
    if is_float(to) and not is_float(of):
        # A nearest float of an integer: numpy rounds those of 64 bits once as well.
        return (lambda x: x.astype(number)) if rounding == ("rn",) and to == "f32" else None
    if not is_float(to):
        whole = {("rni",): np.rint, ("rzi",): np.trunc, ("rmi",): np.floor, ("rpi",): np.ceil}.get(rounding)
        return (lambda x: to_integer(whole(x.astype(np.float64)), to)) if whole else None
    forms = {
        ((), "f32", "f16"): lambda x: canonical(x.astype(np.float32), "f32"),
        (("rn",), "f16", "f32"): lambda x: canonical(x.astype(np.float16), "f16"),
        (("rni",), "f32", "f32"): np.rint,
    }
    return forms.get((rounding, to, of))


def to_integer(whole, to):
    """Whole doubles as integers, clamped. NaN becomes 0 from f32 to 32 bits or fewer."""
    if size_of(to) > 4:
        raise Unknown(f"cvt of a float to .{to}")
    limits = np.iinfo(NUMPY[to])
    whole = np.where(np.isnan(whole), 0.0, whole)
    return np.clip(whole, limits.min, limits.max).astype(np.int64).astype(NUMPY[to])


