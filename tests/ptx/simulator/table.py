"""The table of instructions: opcode -> how to make a function out of a statement.

`TABLE[opcode](program, statement)` gives `run(lanes)`, or for the instructions that change where threads go on, a
`Control`. The modules that fill the table are imported by `block`.
"""

from .types import Unknown

TABLE = {}


class Control:
    """A branch, a return or a barrier, which the block itself carries out."""

    def __init__(self, kind, target=None):
        self.kind, self.target = kind, target


def instruction(*opcodes):
    """Enters a builder under its opcodes."""

    def enter(builder):
        for opcode in opcodes:
            TABLE[opcode] = builder
        return builder

    return enter


def typed(statement, *allowed):
    """The type of an instruction, its last modifier, where the ones before are one of the `allowed` tuples.

    What a modifier means is never guessed: .sat, .ftz or a rounding mode that no test has seen is refused.
    """
    *before, kind = statement.modifiers
    if tuple(before) not in allowed:
        raise Unknown(f"the modifiers .{'.'.join(statement.modifiers)} of {statement.opcode}")
    return kind


def operands(statement, count):
    """The operands, which have to be so many."""
    if len(statement.operands) != count:
        raise Unknown(f"{len(statement.operands)} operands of {statement.opcode}")
    return statement.operands


def elementwise(function, result, *sources):
    """Applies `function` to each thread's numbers."""
    if len(sources) == 1:
        (a,) = sources

        def run(lanes):
            result[lanes] = function(a[lanes])
    elif len(sources) == 2:
        a, b = sources

        def run(lanes):
            result[lanes] = function(a[lanes], b[lanes])
    else:

        def run(lanes):
            result[lanes] = function(*(source[lanes] for source in sources))

    return run
