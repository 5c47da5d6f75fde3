"""Runs the blocks of a launch, each to its end.

Threads that stand at the same statement run it together, those furthest behind first, so that ways that parted meet
again where they join. All warps of a block go in step; that they might not is what the shadow of shared memory is for.
"""

import numpy as np

from . import copies, floats, integers, matrices, moves, warps, wgmma  # noqa: F401 (they fill the table)
from .program import ALL
from .table import Control
from .types import WARP, Fault

MOST_STEPS = 500_000  # of one block


class Block:
    """One block of a launch."""

    def __init__(self, program):
        self.program = program
        threads = program.threads
        self.at = np.zeros(threads, np.int64)  # the statement that each thread stands at
        self.done = np.zeros(threads, bool)
        self.waiting = np.zeros(threads, bool)
        self.steps = 0
        self.instructions = 0  # counted once per warp

    def run(self):
        """Runs all threads to their end."""
        while True:
            live = ~(self.done | self.waiting)
            if not live.any():
                if self.done.all():
                    return
                self.waiting[:] = False
                self.program.shared.barrier()
                continue
            first = self.at[live].min()
            group = live & (self.at == first)
            behind = self.at[live & ~group]
            lanes = ALL if group.all() else np.nonzero(group)[0]
            self._run_group(int(first), int(behind.min()) if len(behind) else None, lanes)

    def _run_group(self, at, stop, lanes):
        """Runs the threads `lanes` from statement `at` until they part, wait, end, or reach others at `stop`."""
        code, coverage = self.program.code, self.program.coverage
        size = self.program.threads if lanes is ALL else len(lanes)
        begin, steps, end = at, 0, len(code)
        try:
            while at != stop:
                if at >= end:
                    raise Fault("the kernel ends without a ret")
                guard, run = code[at]
                active = lanes if guard is None else self._guarded(guard, lanes)
                steps += 1
                if isinstance(run, Control):
                    coverage[begin : at + 1] = True
                    target = self._control(run, at, active, lanes)
                    if target is None or (stop is not None and target > stop):
                        return
                    at = begin = target
                    if self.steps + steps > MOST_STEPS:
                        raise Fault(f"a block has not ended after {MOST_STEPS} steps")
                    continue
                if active is not None:
                    run(active)
                at += 1
            coverage[begin:at] = True
            self.at[lanes] = at
        except (Fault, IndexError, TypeError, ValueError) as fault:
            statement = self.program.kernel.statements[min(at, end - 1)]
            kind = "" if isinstance(fault, Fault) else f"{type(fault).__name__}: "
            where = f"{self.program.kernel.name}, line {statement.line}: `{statement.text[:100]}`"
            raise Fault(f"{where}: {kind}{fault}") from fault
        finally:
            self.steps += steps
            self.instructions += steps * -(-size // WARP)

    def _guarded(self, guard, lanes):
        """The threads whose predicate lets them run, or None."""
        predicate, wanted = guard
        mask = predicate[lanes] == wanted
        if mask.all():
            return lanes
        if not mask.any():
            return None
        return np.nonzero(mask)[0] if lanes is ALL else lanes[mask]

    def _control(self, control, at, active, lanes):
        """Carries out a branch, a return or a barrier: where all `lanes` go on together, or None where they part."""
        if control.kind == "branch" and active is lanes:
            self.at[lanes] = control.target
            return control.target
        if active is None:
            self.at[lanes] = at + 1
            return at + 1
        self.at[lanes] = at + 1
        if control.kind == "branch":
            self.at[active] = control.target
        elif control.kind == "return":
            self.done[active] = True
        else:
            self._barrier(active, lanes)
        return None

    def _barrier(self, active, lanes):
        """bar.sync: all threads of a warp have to come together (PTX ISA, 9.7.13, bar: it is .aligned)."""
        if active is not lanes:
            raise Fault("a barrier that some threads' predicates skip")
        threads = self.program.ids[active]
        standing = np.isin(self.program.ids // WARP, threads // WARP) & ~self.done
        if np.count_nonzero(standing) != len(threads):
            raise Fault("a barrier by part of a warp")
        self.waiting[active] = True
