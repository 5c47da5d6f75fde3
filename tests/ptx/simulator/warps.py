"""Control flow, barriers, and what the threads of a warp do together."""

import numpy as np

from .parse import address
from .table import Control, instruction, operands, typed
from .types import WARP, Fault, Unknown

EVERYONE = 0xFFFFFFFF


@instruction("bra")
def branch(program, statement):
    """bra; .uni promises that all threads go the same way and changes nothing."""
    (label,) = operands(statement, 1)
    if label not in program.kernel.labels or statement.modifiers not in ((), ("uni",)):
        raise Unknown(f"the branch to {label}")
    return Control("branch", program.kernel.labels[label])


@instruction("ret", "exit")
def leave(program, statement):
    """ret and exit: the thread ends."""
    return Control("return")


@instruction("bar")
def barrier(program, statement):
    """bar.sync 0 of the whole block, and bar.warp.sync of a whole warp."""
    if statement.modifiers == ("sync",) and statement.operands == ("0",):
        return Control("barrier")
    if statement.modifiers != ("warp", "sync"):
        raise Unknown(f"bar.{'.'.join(statement.modifiers)} {', '.join(statement.operands)}")
    everyone(program, statement.operands[0])

    def run(lanes):
        threads = program.whole_warps(lanes, "bar.warp.sync")
        program.shared.warp_barrier(np.unique(threads // WARP))

    return run


def everyone(program, mask):
    """That the mask of members is of all 32 lanes; fewer are not in use."""
    if mask in program.rows:
        raise Unknown(f"{mask} as the mask of members")
    if program.integer(mask) & EVERYONE != EVERYONE:
        raise Unknown(f"the mask of members {mask}")


def constant_mask(program, operand):
    """A mask of members that is a register which only one statement writes, with a constant."""
    if operand not in program.rows:
        return operand
    moves = [s for s in program.kernel.statements if s.operands and s.operands[0] == operand and s.opcode == "mov"]
    writes = [s for s in program.kernel.statements if s.operands and s.operands[0] == operand]
    if len(moves) != 1 or len(writes) != 1:
        raise Unknown(f"{operand} as the mask of members")
    return moves[0].operands[1]


@instruction("shfl")
def shuffle(program, statement):
    """shfl.sync: another lane's number. Where the lane lies outside of the segment that c names, a lane keeps its own
    and the predicate is false (PTX ISA, 9.7.9, shfl.sync)."""
    kind = typed(statement, ("sync", "bfly"), ("sync", "idx"), ("sync", "up"), ("sync", "down"))
    mode = statement.modifiers[1]
    to, a, b, c, mask = operands(statement, 5)
    everyone(program, constant_mask(program, mask))
    to, _, predicate = to.partition("|")
    result, inside_of = program.result(to, kind), program.result(predicate or "_", "pred")
    a, b, c = program.source(a, kind), program.source(b, "u32"), program.source(c, "u32")

    def run(lanes):
        threads = program.whole_warps(lanes, "shfl.sync")
        lane = threads % WARP
        offset, bound = (b[lanes] & 31).astype(np.int64), c[lanes].astype(np.int64)
        segment = bound >> 8 & 31
        lowest, highest = lane & segment, lane & segment | bound & 31 & ~segment
        source = {
            "up": lane - offset, "down": lane + offset, "bfly": lane ^ offset, "idx": lowest | offset & ~segment,
        }[mode]  # fmt: skip
        inside = source >= highest if mode == "up" else source <= highest
        result[lanes] = a[threads - lane + np.where(inside, source, lane)]
        inside_of[lanes] = inside

    return run


@instruction("vote")
def vote(program, statement):
    """vote.sync.any, .all and .ballot."""
    mode, kind = statement.modifiers[1], statement.modifiers[2]
    to, predicate, mask = operands(statement, 3)
    everyone(program, constant_mask(program, mask))
    if statement.modifiers not in (("sync", "any", "pred"), ("sync", "all", "pred"), ("sync", "ballot", "b32")):
        raise Unknown(f"vote.{'.'.join(statement.modifiers)}")
    result, predicate = program.result(to, kind), program.source(predicate, "pred")

    def run(lanes):
        program.whole_warps(lanes, "vote.sync")
        votes = predicate[lanes].reshape(-1, WARP)
        if mode == "ballot":
            of_warp = (votes.astype(np.uint64) << np.arange(WARP, dtype=np.uint64)).sum(1).astype(np.uint32)
        else:
            of_warp = votes.any(1) if mode == "any" else votes.all(1)
        result[lanes] = np.repeat(of_warp, WARP)

    return run


ATOMIC = {"or": np.bitwise_or, "and": np.bitwise_and, "xor": np.bitwise_xor, "add": np.add}


@instruction("atom")
def atomic(program, statement):
    """atom.global on 32 bits: one lane after the other."""
    if statement.modifiers[0] != "global" or len(statement.modifiers) != 3 or statement.modifiers[1] not in ATOMIC:
        raise Unknown(f"atom.{'.'.join(statement.modifiers)}")
    function, kind = ATOMIC[statement.modifiers[1]], statement.modifiers[2]
    if kind not in ("b32", "u32", "s32"):
        raise Unknown(f"atom of .{kind}")
    to, where, value = operands(statement, 3)
    base, offset = address(where)
    base, value, result = program.source(base, "u64"), program.source(value, "u32"), program.result(to, "u32")

    def run(lanes):
        for thread in program.ids[lanes]:
            at = base[thread : thread + 1] + np.uint64(offset)
            if int(at[0]) % 4:
                raise Fault("misaligned atom")
            result[thread] = program.memory.peek(at, 4)[0]
            program.memory.store(at, 4, function(result[thread : thread + 1], value[thread]), program.block, True)

    return run


@instruction("fence")
def fence(program, statement):
    """fence.proxy.async: what ld and st see of shared memory, wgmma sees afterwards."""
    if statement.modifiers != ("proxy", "async"):
        raise Unknown(f"fence.{'.'.join(statement.modifiers)}")
    return lambda lanes: program.shared.fence_async_proxy(program.ids[lanes])
