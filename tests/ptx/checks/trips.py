"""What hardware trips on, or leaves undefined, planted in small kernels: each has to be found, and the same kernel
without it has to pass."""

from typing import NamedTuple, Optional

import numpy as np

from simulator.types import Fault, Unknown

from . import assembly
from .framework import Check, Wrong

STORE = "st.global.u32 [%d4], %r2;"
# Thread t's word of shared memory: %r3.
SHARED = "mov.u32 %r1, fixed; shl.b32 %r3, %r0, 2; add.u32 %r3, %r3, %r1; st.shared.u32 [%r3], %r0;"
COPY = """mov.u32 %r1, fixed; shl.b32 %r3, %r0, 4; add.u32 %r3, %r3, %r1; mad.wide.u32 %d5, %r0, 16, %d0;
    cp.async.cg.shared.global [%r3], [%d5], 16; cp.async.commit_group;"""
HALF = "setp.lt.u32 %p1, %r0, 16;"
FRAGMENTS = "mov.u32 %r1, 0; mov.u32 %r2, 0;"
MMA = """mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%r3,%r4,%r5,%r6}, {%r1,%r2}, {%r1}, {%r1,%r1,%r2,%r2};
    mov.u32 %r2, %r3;"""
TILE = """mov.u32 %r1, dynamic; shl.b32 %r3, %r0, 7; add.u32 %r3, %r3, %r1; mov.u32 %r2, 0; mov.u32 %r9, fixed;
    st.shared.v4.u32 [%r3], {%r2, %r2, %r2, %r2}; st.shared.v4.u32 [%r3+16], {%r2, %r2, %r2, %r2};
    st.shared.v4.u32 [%r3+32], {%r2, %r2, %r2, %r2}; st.shared.v4.u32 [%r3+48], {%r2, %r2, %r2, %r2};
    st.shared.v4.u32 [%r3+64], {%r2, %r2, %r2, %r2}; st.shared.v4.u32 [%r3+80], {%r2, %r2, %r2, %r2};
    st.shared.v4.u32 [%r3+96], {%r2, %r2, %r2, %r2}; st.shared.v4.u32 [%r3+112], {%r2, %r2, %r2, %r2};
    shr.u32 %r4, %r1, 4; cvt.u64.u32 %d6, %r4; or.b64 %d6, %d6, 0x4000004000010000;
    mov.u32 %r20, 0; mov.u32 %r21, 0; mov.u32 %r22, 0; mov.u32 %r23, 0; setp.eq.s32 %p2, %r20, 0;"""
FENCES = "fence.proxy.async; bar.sync 0; wgmma.fence.sync.aligned;"
ASYNC = """wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%r20, %r21, %r22, %r23}, %d6, %d6, %p2, 1, 1, 0, 0;
    wgmma.commit_group.sync.aligned;"""
WAIT, RESULT = "wgmma.wait_group.sync.aligned 0;", "mov.u32 %r2, %r20;"
OTHER = "xor.b32 %r4, %r3, 128; ld.shared.u32 %r2, [%r4];"  # the word of a thread in another warp
NEIGHBOUR = "xor.b32 %r4, %r3, 4; ld.shared.u32 %r2, [%r4];"


class Trip(NamedTuple):
    """A fault: what it is, what the message says, the statements with it and without it, and how they are launched."""

    what: str
    message: str
    planted: str
    clean: str
    threads: int = 32
    dynamic: int = 0
    grid: int = 1
    at_launch: Optional[dict] = None  # the fault is one of the launch: what of it is other


TRIPS = [
    Trip(
        "a vector off by a word", "misaligned load",
        planted="ld.global.v4.u32 {%r2,%r3,%r4,%r5}, [%d0+4];",
        clean="ld.global.v4.u32 {%r2,%r3,%r4,%r5}, [%d0+16];",
    ),
    Trip(
        "a vector store off by a word", "misaligned store",
        planted="mov.u32 %r2, 0; st.global.v2.u32 [%d1+4], {%r2, %r2};",
        clean="mov.u32 %r2, 0; st.global.v2.u32 [%d1+8], {%r2, %r2};",
    ),
    Trip(
        "a load behind the end", "outside of every buffer",
        planted="ld.global.u32 %r2, [%d3+3972];",
        clean="ld.global.u32 %r2, [%d3+3968];",
    ),
    Trip(
        "a load before the beginning", "outside of every buffer",
        planted="ld.global.u32 %r2, [%d0+-4];",
        clean="ld.global.u32 %r2, [%d0+0];",
    ),
    Trip(
        "a store behind the end", "outside of every buffer",
        planted="mov.u32 %r2, 0; st.global.u32 [%d4+4], %r2;",
        clean="mov.u32 %r2, 0; st.global.u32 [%d4+0], %r2;",
    ),
    Trip(
        "a load from null", "outside of every buffer",
        planted="mov.u64 %d5, 0; ld.global.u32 %r2, [%d5];",
        clean="mov.u64 %d5, %d0; ld.global.u32 %r2, [%d5];",
    ),
    Trip(
        "a load of what nothing wrote", "nothing has written",
        planted="ld.global.u32 %r2, [%d4];",
        clean="ld.global.u32 %r2, [%d3];",
    ),
    Trip(
        "a result that is not written", "never written",
        planted="setp.lt.u32 %p1, %r0, 31; mov.u32 %r2, 0; @!%p1 ret;",
        clean="mov.u32 %r2, 0;",
    ),
    Trip(
        "different values to one address", "different values",
        planted="mov.u32 %r2, %r0; st.global.u32 [%d1], %r2;",
        clean="mov.u32 %r2, 5; st.global.u32 [%d1], %r2;",
    ),
    Trip(
        "two blocks that write the same", "two blocks",
        planted="mov.u32 %r2, %ctaid.x;",
        clean="mov.u32 %r2, %ctaid.x; setp.eq.s32 %p1, %r2, 1; @%p1 ret;",
        grid=2,
    ),
    Trip(
        "a load of another block's store", "another block",
        planted=(
            "mov.u32 %r2, %ctaid.x; setp.eq.s32 %p1, %r2, 0; @%p1 ld.global.u32 %r3, [%d0]; @%p1 bra $end; "
            + "mov.u32 %r2, 0; st.global.u32 [%d0], %r2; ret; $end:"
        ),
        clean=(
            "mov.u32 %r2, %ctaid.x; setp.eq.s32 %p1, %r2, 0; @%p1 ld.global.u32 %r3, [%d0+128]; "
            + "@%p1 bra $end; mov.u32 %r2, 0; st.global.u32 [%d0], %r2; ret; $end:"
        ),
        grid=2,
    ),
    Trip(
        "a read-only load of what the launch writes", "read-only",
        planted="mov.u32 %r2, 0; ld.global.nc.u32 %r3, [%d3]; st.global.u32 [%d3], %r2;",
        clean="mov.u32 %r2, 0; ld.global.u32 %r3, [%d3]; st.global.u32 [%d3], %r2;",
    ),
    Trip(
        "shared memory that nothing wrote", "nothing has written",
        planted="mov.u32 %r1, fixed; ld.shared.u32 %r2, [%r1];",
        clean=SHARED + "ld.shared.u32 %r2, [%r3];",
    ),
    Trip(
        "shared memory beyond what was asked for", "of the block's 4128",
        planted="mov.u32 %r1, dynamic; mov.u32 %r2, 0; st.shared.u32 [%r1+32], %r2;",
        clean="mov.u32 %r1, dynamic; mov.u32 %r2, 0; st.shared.u32 [%r1+28], %r2;",
        dynamic=32,
    ),
    Trip(
        "a misaligned shared vector", "misaligned store",
        planted="mov.u32 %r1, fixed; mov.u32 %r2, 0; st.shared.v2.u32 [%r1+4], {%r2, %r2};",
        clean="mov.u32 %r1, fixed; mov.u32 %r2, 0; st.shared.v2.u32 [%r1+8], {%r2, %r2};",
    ),
    Trip(
        "a read of another warp's write", "race: load",
        planted=SHARED + OTHER,
        clean=SHARED + "bar.sync 0;" + OTHER,
        threads=64,
    ),
    Trip(
        "a write over what another warp reads", "race: store",
        planted=SHARED + "bar.sync 0;" + OTHER + "st.shared.u32 [%r3], %r2;",
        clean=SHARED + "bar.sync 0;" + OTHER + "bar.sync 0; st.shared.u32 [%r3], %r2;",
        threads=64,
    ),
    Trip(
        "a write over another warp's write", "race: store",
        planted=SHARED + "mov.u32 %r2, 0; xor.b32 %r4, %r3, 128; st.shared.u32 [%r4], %r2;",
        clean=SHARED + "mov.u32 %r2, 0; bar.sync 0; xor.b32 %r4, %r3, 128; st.shared.u32 [%r4], %r2;",
        threads=64,
    ),
    Trip(
        "a read of another lane's write", "race: load",
        planted=SHARED + NEIGHBOUR,
        clean=SHARED + "bar.warp.sync -1;" + NEIGHBOUR,
    ),
    Trip(
        "a read while cp.async is under way", "cp.async is under way",
        planted=COPY + "ld.shared.u32 %r2, [%r3];",
        clean=COPY + "cp.async.wait_group 0; ld.shared.u32 %r2, [%r3];",
    ),
    Trip(
        "a wait for too few groups", "cp.async is under way",
        planted=COPY + "cp.async.wait_group 1; ld.shared.u32 %r2, [%r3];",
        clean=COPY + "cp.async.commit_group; cp.async.wait_group 1; ld.shared.u32 %r2, [%r3];",
    ),
    Trip(
        "a copy that was not committed", "cp.async is under way",
        planted=COPY.replace("cp.async.commit_group;", "") + "cp.async.wait_group 0; ld.shared.u32 %r2, [%r3];",
        clean=COPY + "cp.async.wait_group 0; ld.shared.u32 %r2, [%r3];",
    ),
    Trip(
        "cp.async over what another warp reads", "race: cp.async",
        planted=SHARED + "bar.sync 0;" + OTHER + COPY,
        clean=SHARED + "bar.sync 0;" + OTHER + "bar.sync 0;" + COPY,
        threads=64,
    ),
    Trip(
        "another warp's copy without a barrier", "race: load",
        planted=COPY + "cp.async.wait_group 0; xor.b32 %r4, %r3, 512; ld.shared.u32 %r2, [%r4];",
        clean=COPY + "cp.async.wait_group 0; bar.sync 0; xor.b32 %r4, %r3, 512; ld.shared.u32 %r2, [%r4];",
        threads=64,
    ),
    Trip(
        "a misaligned source of cp.async", "misaligned source",
        planted=COPY.replace("16, %d0;", "8, %d0;") + "mov.u32 %r2, 0;",
        clean=COPY + "mov.u32 %r2, 0;",
    ),
    Trip(
        "a barrier by part of a warp", "barrier",
        planted=HALF + "mov.u32 %r2, 0; @%p1 bar.sync 0;",
        clean="mov.u32 %r2, 0; bar.sync 0;",
    ),
    Trip(
        "a barrier in a branch", "barrier by part",
        planted=HALF + "mov.u32 %r2, 0; @%p1 bra $end; bar.sync 0; $end:",
        clean="mov.u32 %r2, 0; bar.sync 0;",
    ),
    Trip(
        "shfl by part of a warp", "by part of a warp",
        planted=HALF + "mov.u32 %r2, 0; @%p1 shfl.sync.bfly.b32 %r2, %r0, 1, 31, -1;",
        clean="shfl.sync.bfly.b32 %r2, %r0, 1, 31, -1;",
    ),
    Trip(
        "shfl where lanes have left", "by part of a warp",
        planted=(
            "mov.u32 %r2, 0; setp.eq.s32 %p1, %r0, 31; @%p1 st.global.u32 [%d4], %r2; @%p1 ret; "
            + "shfl.sync.bfly.b32 %r2, %r0, 1, 31, -1;"
        ),
        clean="shfl.sync.bfly.b32 %r2, %r0, 1, 31, -1;",
    ),
    Trip(
        "vote by part of a warp", "by part of a warp",
        planted=HALF + "mov.u32 %r2, 0; @%p1 vote.sync.any.pred %p2, %p1, -1;",
        clean=HALF + "mov.u32 %r2, 0; vote.sync.any.pred %p2, %p1, -1;",
    ),
    Trip(
        "mma by part of a warp", "by part of a warp",
        planted=HALF + FRAGMENTS + "@%p1 " + MMA,
        clean=HALF + FRAGMENTS + MMA,
    ),
    Trip(
        "ldmatrix by part of a warp", "by part of a warp",
        planted=HALF + SHARED + "mov.u32 %r2, 0; @%p1 ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r1];",
        clean=SHARED + "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r1];",
    ),
    Trip(
        "ldmatrix at 8 bytes' alignment", "misaligned ldmatrix",
        planted=SHARED + "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r1+8];",
        clean=SHARED + "bar.warp.sync -1; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r1+16];",
    ),
    Trip(
        "wgmma without a proxy fence", "fence.proxy.async",
        planted=TILE + FENCES.replace("fence.proxy.async;", "") + ASYNC + WAIT + RESULT,
        clean=TILE + FENCES + ASYNC + WAIT + RESULT,
        threads=128, dynamic=16384,
    ),
    Trip(
        "wgmma with a fence before the stores", "fence.proxy.async",
        planted="fence.proxy.async;" + TILE + FENCES.replace("fence.proxy.async;", "") + ASYNC + WAIT + RESULT,
        clean=TILE + FENCES + ASYNC + WAIT + RESULT,
        threads=128, dynamic=16384,
    ),
    Trip(
        "wgmma without wgmma.fence", "wgmma.fence",
        planted=TILE + "fence.proxy.async; bar.sync 0;" + ASYNC + WAIT + RESULT,
        clean=TILE + FENCES + ASYNC + WAIT + RESULT,
        threads=128, dynamic=16384,
    ),
    Trip(
        "wgmma without a barrier", "race: wgmma",
        planted=TILE + FENCES.replace("bar.sync 0;", "") + ASYNC + WAIT + RESULT,
        clean=TILE + FENCES + ASYNC + WAIT + RESULT,
        threads=128, dynamic=16384,
    ),
    Trip(
        "an accumulator that changes under way", "under way were written",
        planted=TILE + FENCES + ASYNC + "mov.u32 %r20, 7;" + ASYNC + WAIT + RESULT,
        clean=TILE + FENCES + ASYNC + ASYNC + WAIT + RESULT,
        threads=128, dynamic=16384,
    ),
    Trip(
        "wgmma at 256 bytes' alignment", "pattern begins at 1024",
        planted=TILE + "add.s64 %d6, %d6, 16;" + FENCES + ASYNC + WAIT + RESULT,
        clean=TILE + FENCES + ASYNC + WAIT + RESULT,
        threads=128, dynamic=16384,
    ),
    Trip(
        "wgmma by half a warpgroup", "part of a warpgroup",
        planted=TILE + FENCES + "setp.lt.u32 %p1, %r0, 64; @%p1 wgmma.commit_group.sync.aligned;" + RESULT,
        clean=TILE + FENCES + "wgmma.commit_group.sync.aligned;" + RESULT,
        threads=128, dynamic=16384,
    ),
    Trip(
        "an integer division by zero", "division by zero",
        planted="div.u32 %r2, 5, %r0;",
        clean="add.u32 %r2, %r0, 1; div.u32 %r2, 5, %r2;",
    ),
    Trip(
        "a loop without an end", "has not ended",
        planted="mov.u32 %r2, 0; $again: bra $again;",
        clean="mov.u32 %r2, 0; bra $end; $end:",
        threads=1,
    ),
    Trip(
        "more dynamic shared memory than any card has", "than any card has",
        planted="mov.u32 %r2, dynamic;",
        clean="mov.u32 %r2, 0;",
        at_launch={"dynamic": 1 << 18},
    ),
    Trip(
        "dynamic shared memory that nothing uses", "does not use",
        planted="mov.u32 %r2, 0;",
        clean="mov.u32 %r2, dynamic;",
        dynamic=16,
    ),
    Trip(
        "a register that is never written", "never written",
        planted="mov.u32 %r2, %r55;",
        clean="mov.u32 %r55, 0; mov.u32 %r2, %r55;",
    ),
    Trip(
        "more threads than were compiled for", "compiled for",
        planted="mov.u32 %r2, 0;",
        clean="mov.u32 %r2, 0;",
        at_launch={"threads": 1056},
    ),
]
UNKNOWN = [
    "popc.b32 %r2, %r0;", "add.sat.s32 %r2, %r0, 1;", "add.rz.f32 %f1, %f2, %f2;", "fma.rn.ftz.f32 %f1, %f2, %f2, %f2;",
    "ex2.approx.ftz.f16 %h1, %h1;", "ld.volatile.global.u32 %r2, [%d3];", "ld.local.u32 %r2, [%d3];", "bar.sync 1;",
    "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%r1,%r2,%r3,%r4}, {%r5,%r6}, {%r7}, {%r1,%r2,%r3,%r4};",
    "shfl.sync.bfly.b32 %r2, %r0, 1, 31, 15;", "cvt.rn.bf16.f32 %h1, %f1;", "call.uni something;",
    "cp.async.ca.shared.global [%r0], [%d0], 4;", "mov.u32 %r2, %clock;", "setp.lt.and.s32 %p1, %r0, %r0, %p1;",
    "atom.global.cas.b32 %r2, [%d0], 0, 1;", "max.NaN.f32 %f1, %f1, %f1;", "st.async.shared.u32 [%r0], %r0;",
]  # fmt: skip


def attempt(body, **settings):
    """Runs a small kernel; what stopped it, or nothing."""
    try:
        assembly.run(body + STORE, np.arange(1024, dtype=np.uint32), **settings)
    except Fault as fault:
        return str(fault)
    return ""


def trip(case):
    """That the planted fault is found as what it is, and nothing without it."""
    settings = {"threads": case.threads, "dynamic": case.dynamic, "grid": case.grid}
    found = attempt(case.planted, **{**settings, **(case.at_launch or {})})
    if case.message not in found:
        raise Wrong(f"found {found!r}, which does not say {case.message!r}")
    found = attempt(case.clean, **settings)
    if found:
        raise Wrong(f"the kernel without the fault: {found}")


def unknown(body):
    """That an instruction without a meaning is a failure, although nothing runs it."""
    try:
        assembly.run(f"mov.u32 %r2, 0; bra $end; {body} $end:" + STORE, np.zeros(1024, np.uint32))
    except Unknown:
        return
    except Fault as fault:
        if "never written" in str(fault):
            raise Wrong(f"`{body}` was taken for known") from None
        raise
    raise Wrong(f"`{body}` was taken for known")


def checks():
    """One check for each fault, and one for each instruction that is not known."""
    for case in TRIPS:
        yield Check(f"trips: {case.what}", lambda d, n, case=case: trip(case))
    for body in UNKNOWN:
        yield Check(f"unknown: {body.split(' ')[0]}", lambda d, n, body=body: unknown(body))
