"""Products of matrices by a warpgroup of four warps, out of shared memory: wgmma (PTX ISA, 9.7.15).

Accumulators belong to the product until it is waited for: until then a thread that reads them finds poison here, as it
might find anything on a card. A product reads shared memory when it is issued; stores in the meantime are not watched.
"""

import re

import numpy as np

from .matrices import BITS, NUMBERS
from .parse import vector
from .table import instruction
from .types import Fault, Unknown

GROUP = 128  # threads of a warpgroup
ROW_BYTES = 32  # along k, of one instruction
POISON = np.uint32(0xFFC0DEAD)
SWIZZLE_128 = 1


class Accumulators:
    """The sums under way of each warpgroup."""

    def __init__(self, program):
        self.program = program
        self.clear()
        program.resets.append(self.clear)

    def clear(self):
        """As at the start of a block."""
        self.values = {}  # (warpgroup, registers) -> sums, of what is under way
        self.uncommitted = {}  # warpgroup -> keys
        self.groups = {}  # warpgroup -> lists of keys, oldest first
        self.fenced = set()  # warpgroups whose registers wgmma.fence has ordered before what comes

    def commit(self, group):
        """wgmma.commit_group."""
        self.groups.setdefault(group, []).append(self.uncommitted.pop(group, set()))

    def wait(self, group, left):
        """wgmma.wait_group: all but the last `left` groups are done. Sums that a later one adds to stay under way."""
        groups = self.groups.get(group, [])
        done, self.groups[group] = groups[: len(groups) - left], groups[len(groups) - left :]
        if left == 0:
            done, self.groups[group] = groups, []
        busy = set().union(self.uncommitted.get(group, set()), *self.groups[group])
        for key in set().union(*done) - busy:
            if key in self.values:
                threads = slice(group * GROUP, (group + 1) * GROUP)
                self.program.banks[32][np.array(key[1])[:, None], self.program.ids[threads]] = self.values.pop(key)
                self.fenced.discard(group)


def warpgroups(program, lanes, what):
    """The warpgroups that run an instruction, which all of their threads have to."""
    threads = program.ids[lanes]
    if len(threads) % GROUP or (threads.reshape(-1, GROUP)[:, 0] % GROUP).any() or len(threads) == 0:
        raise Fault(f"{what} by part of a warpgroup")
    first = threads.reshape(-1, GROUP)[:, 0]
    if (threads.reshape(-1, GROUP)[:, -1] - first != GROUP - 1).any():
        raise Fault(f"{what} by part of a warpgroup")
    return [int(thread) // GROUP for thread in first]


def matrix_addresses(descriptor, rows):
    """Where the 32 bytes of each row lie (PTX ISA, 9.7.15.5.1.2.2): start, the stride of 8 rows and the swizzle in the
    descriptor. With 128-byte swizzle a row has 128 bytes, and bits 4 to 6 of an address are crossed with bits 7 to 9;
    the pattern begins at a multiple of 1024 where the base offset is 0. The leading offset does not count."""
    start, stride = (descriptor & 0x3FFF) << 4, (descriptor >> 32 & 0x3FFF) << 4
    swizzle, base_offset = descriptor >> 62, descriptor >> 49 & 7
    if swizzle != SWIZZLE_128 or base_offset:
        raise Unknown(f"a wgmma descriptor with swizzle {swizzle} and base offset {base_offset}")
    if descriptor & (0b11 << 14 | 0b11 << 30 | 0b111 << 46 | 0x3FF << 52):
        raise Fault(f"bits of the wgmma descriptor {descriptor:#x} are set that have no meaning")
    if start & 0x380 or stride & 0x3FF:
        raise Fault(f"a wgmma tile at {start:#x} with stride {stride}: the swizzle's pattern begins at 1024 bytes")
    row = np.arange(rows)
    flat = (start + row // 8 * stride + row % 8 * 128)[:, None] + np.arange(0, ROW_BYTES, 16)
    return flat ^ (flat >> 7 & 7) << 4


def operand(program, descriptor, rows, kind, threads):
    """A matrix of `rows` rows as numbers, read through the async proxy."""
    addresses = matrix_addresses(descriptor, rows).reshape(-1)
    readers = np.resize(threads, len(addresses))
    words = program.shared.load(addresses, 16, readers, what="wgmma")
    if (program.shared.state[program.shared.granules(addresses, 16, "wgmma")] & program.shared.UNFENCED).any():
        raise Fault("wgmma reads shared memory that was written without a fence.proxy.async behind it")
    return NUMBERS[kind](words.reshape(rows, -1).view(np.uint32)).reshape(rows, -1)


@instruction("wgmma")
def wgmma(program, statement):
    """wgmma.fence, .commit_group, .wait_group and .mma_async."""
    if not hasattr(program, "accumulators"):
        program.accumulators = Accumulators(program)
    sums, what = program.accumulators, statement.modifiers[0]
    if what == "mma_async":
        return product(program, statement, sums)
    if statement.modifiers[1:] != ("sync", "aligned"):
        raise Unknown(f"wgmma.{'.'.join(statement.modifiers)}")
    if what == "fence":
        return lambda lanes: sums.fenced.update(warpgroups(program, lanes, "wgmma.fence"))
    if what == "commit_group":
        return lambda lanes: [sums.commit(group) for group in warpgroups(program, lanes, "wgmma.commit_group")]
    if what == "wait_group":
        left = program.integer(statement.operands[0])
        return lambda lanes: [sums.wait(group, left) for group in warpgroups(program, lanes, "wgmma.wait_group")]
    raise Unknown(f"wgmma.{what}")


def product(program, statement, sums):
    """wgmma.mma_async: D (64 x N) += A B, both along k. Thread t's register i holds row 16 (t / 32) + t % 32 / 4 +
    8 (i / 2 % 2), column 8 (i / 4) + 2 (t % 4) + i % 2 (PTX ISA, figures 149 and 153)."""
    found = re.fullmatch(
        r"mma_async\.sync\.aligned\.m64n(\d+)k(\d+)\.(f32|s32)\.(\w+)\.(\w+)", ".".join(statement.modifiers)
    )
    if not found or found[4] != found[5] or BITS.get(found[4], 0) * int(found[2]) != 8 * ROW_BYTES:
        raise Unknown(f"wgmma.{'.'.join(statement.modifiers)}")
    columns, kind, of_sum = int(found[1]), found[4], np.float32 if found[3] == "f32" else np.int32
    d, a, b, scale, *immediates = statement.operands
    # Signs of a and b, and for 16-bit numbers whether they are transposed.
    if immediates != {"f16": ["1", "1", "0", "0"], "bf16": ["1", "1", "0", "0"], "e4m3": ["1", "1"], "s8": []}[kind]:
        raise Unknown(f"the operands {immediates} of wgmma")
    rows = program.bank_rows(vector(d))
    if len(rows) != columns // 2:
        raise Unknown(f"{len(rows)} registers for 64 x {columns} sums")
    a, b, scale = program.source(a, "u64"), program.source(b, "u64"), program.source(scale, "pred")
    thread, i = np.arange(GROUP), np.arange(len(rows))[:, None]
    row = thread // 32 * 16 + thread % 32 // 4 + i // 2 % 2 * 8
    column = i // 4 * 8 + thread % 4 * 2 + i % 2

    def run(lanes):
        for group in warpgroups(program, lanes, "wgmma.mma_async"):
            threads = program.ids[group * GROUP : (group + 1) * GROUP]
            if len(np.unique(a[threads])) > 1 or len(np.unique(b[threads])) > 1 or len(np.unique(scale[threads])) > 1:
                raise Fault("the descriptors of a wgmma differ within the warpgroup")
            left = operand(program, int(a[threads[0]]), 64, kind, threads)
            right = operand(program, int(b[threads[0]]), columns, kind, threads)
            key, held = (group, tuple(rows)), program.banks[32][rows[:, None], threads]
            if key not in sums.values and group not in sums.fenced:
                raise Fault("wgmma.mma_async without a wgmma.fence since its accumulators were last touched")
            if key in sums.values and (held != POISON).any():
                raise Fault("the accumulators of a wgmma under way were written")
            before = np.ascontiguousarray(sums.values.get(key, held)).view(of_sum)
            before = before if scale[threads[0]] else np.zeros_like(before)
            sums.values[key] = (before + (left @ right.T)[row, column]).astype(of_sum).view(np.uint32)
            program.banks[32][rows[:, None], threads] = POISON
            sums.uncommitted.setdefault(group, set()).add(key)

    return run
