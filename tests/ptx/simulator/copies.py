"""cp.async: copies from device to shared memory behind the threads' backs (PTX ISA, 9.7.9.25.3).

A copy lands as late as it may: when its thread waits for its group. That it may also land at once is what the check at
its start is for: nobody may still read or write its destination.
"""

import numpy as np

from .parse import address
from .table import instruction, operands
from .types import Fault, Unknown

SIZE = 16


class Groups:
    """The copies of each thread that are under way: those not committed yet, and its groups."""

    def __init__(self, program):
        self.program = program
        self.clear()
        program.resets.append(self.clear)

    def clear(self):
        """As at the start of a block."""
        self.open = []  # (threads, granules, words)
        self.committed = []  # the same lists, oldest first, with the threads that committed each

    def commit(self, threads):
        """What these threads began since their last commit is one group, also where that is nothing."""
        mine, others = split(self.open, threads)
        self.open = others
        self.committed.append((threads, mine))

    def wait(self, threads, left):
        """Lets all but the last `left` groups of these threads land."""
        remaining = {}
        kept = []
        for members, copies in reversed(self.committed):
            key = members.tobytes()
            waits = len(members) == len(threads) and (members == threads).all()
            if not waits and np.isin(members, threads).any():
                raise Unknown("cp.async.wait_group by other threads than those that committed together")
            remaining[key] = remaining.get(key, 0) + 1
            if not waits or remaining[key] <= left:
                kept.append((members, copies))
                continue
            for of, granules, words in copies:
                self.program.shared.end_copy(granules, words, of[:, None])
        self.committed = kept[::-1]


def split(copies, threads):
    """Copies of `threads`, and those of others."""
    mine, others = [], []
    for of, granules, words in copies:
        belongs = np.isin(of, threads)
        if belongs.any():
            mine.append((of[belongs], granules[belongs], words[belongs]))
        if not belongs.all():
            others.append((of[~belongs], granules[~belongs], words[~belongs]))
    return mine, others


def groups_of(program):
    """The groups of the program's blocks."""
    if not hasattr(program, "copy_groups"):
        program.copy_groups = Groups(program)
    return program.copy_groups


@instruction("cp")
def copy(program, statement):
    """cp.async of 16 bytes, of which those beyond the source's size are zeros; commit_group and wait_group."""
    groups = groups_of(program)
    if statement.modifiers == ("async", "commit_group"):
        return lambda lanes: groups.commit(program.ids[lanes])
    if statement.modifiers == ("async", "wait_group"):
        left = program.integer(operands(statement, 1)[0])
        return lambda lanes: groups.wait(program.ids[lanes], left)
    if statement.modifiers != ("async", "cg", "shared", "global") or statement.operands[2] != str(SIZE):
        raise Unknown(f"cp.{'.'.join(statement.modifiers)} of {statement.operands[2:]}")
    (to, to_offset), (of, of_offset) = address(statement.operands[0]), address(statement.operands[1])
    to, of = program.source(to, "u32"), program.source(of, "u64")
    to_offset, of_offset = np.uint32(to_offset & (1 << 32) - 1), np.uint64(of_offset & (1 << 64) - 1)
    there = program.source(statement.operands[3], "u32") if len(statement.operands) > 3 else None

    def run(lanes):
        threads = program.ids[lanes]
        granules = program.shared.granules(to[lanes] + to_offset, SIZE, "cp.async")
        program.shared.check_free(granules, threads, "cp.async")
        source = of[lanes] + of_offset
        words = np.zeros((len(threads), SIZE // 2), np.uint16)
        size = np.full(len(threads), SIZE) if there is None else there[lanes]
        if ((size != 0) & (size != SIZE)).any():
            raise Fault(f"cp.async of a part of {SIZE} bytes, which no kernel is meant to do")
        if (source % SIZE).any():
            raise Fault("misaligned source of cp.async")
        full = size == SIZE
        if full.any():
            words[full] = program.memory.load(source[full], SIZE, program.block).view(np.uint16).reshape(-1, SIZE // 2)
        program.shared.begin_copy(granules)
        groups.open.append((threads, granules, words))

    return run
