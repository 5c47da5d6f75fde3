"""Faults planted in the kernels: each has to be found by a check, beside which the kernel as it is passes.

A fault is an edit of the text between a kernel's braces, found by the form of a statement and not by the numbers of its
registers, so that a kernel that was compiled again still has it; or another launch than the host's. One that finds no
place any more is a failure as well.
"""

import re
from typing import Callable, NamedTuple, Optional

from checks import attention, ceilings, encoders, gemm, gemv, rows, tokens
from checks.attention import Case
from checks.framework import Wrong, numbers_for
from simulator.device import Device, module
from simulator.types import Fault, Unknown


class Target(NamedTuple):
    """A kernel and a launch of it that reaches what the faults are in."""

    file: str
    kernel: str
    run: Callable


class Mutation(NamedTuple):
    """A fault of a target: an edit, or what of a launch is other."""

    target: str
    what: str
    edit: Optional[Callable] = None
    launch: Optional[dict] = None


class Stale(Exception):
    """A fault that finds no place in its kernel."""


class ChangedDevice(Device):
    """A card whose launches are changed: {"grid" or "shared": function of what the host asks for}."""

    def __init__(self, changes, **settings):
        super().__init__(**settings)
        self.changes = changes

    def launch(self, file, kernel, grid, threads, arguments, shared=0):
        same = lambda value: value  # noqa: E731
        grid, shared = self.changes.get("grid", same)(grid), self.changes.get("shared", same)(shared)
        super().launch(file, kernel, grid, threads, arguments, shared)


def change(pattern, replacement, which=0):
    """Replaces what `pattern` finds: its occurrence number `which` (from the end where negative), or all for None."""

    def edit(body):
        found = list(re.finditer(pattern, body))
        if not found or which is not None and not -len(found) <= which < len(found):
            raise Stale(f"{len(found)} places are like `{pattern}`")
        for one in reversed(found if which is None else [found[which]]):
            body = body[: one.start()] + one.expand(replacement) + body[one.end() :]
        return body

    return edit


def drop(statement, which=0):
    """Leaves a statement out."""
    return change(statement + r"[^;]*;", "", which)


def mutated(target, edit):
    """The module with the fault."""
    found = module(target.file)
    start, end = found.span(target.kernel)
    # The code and not the text: the same characters, comments left out.
    return found.code[:start] + edit(found.code[start:end]) + found.code[end:]


SMALL_DECODE = Case(64, 1, 1, 8, 1, 200, 50, 256, 3)
SMALL_PREFILL = Case(64, 1, 70, 2, 1, 70, 100, 150)  # three tiles of keys
TARGETS = {
    "gemm": Target("gemm.sm_80", "gemm_f16", lambda d, n: gemm.product(d, n, "gemm.sm_80", "f16", 130, 257, 232)),
    "prefill": Target(
        "attention.sm_80",
        "attention_prefill64_f16",
        lambda d, n: attention.many(d, n, "attention.sm_80", "prefill", "f16", SMALL_PREFILL),
    ),
    "decode": Target(
        "attention.sm_80",
        "attention_decode_f16",
        lambda d, n: attention.decode(d, n, "attention.sm_80", "f16", SMALL_DECODE),
    ),
    "combine": Target(
        "attention.sm_80",
        "attention_combine_f16",
        lambda d, n: attention.decode(d, n, "attention.sm_80", "f16", Case(64, 1, 1, 1, 1, 600, 0, 601, 39)),
    ),
    "decode of several": Target(
        "attention.sm_80",
        "attention_decode_f16",
        lambda d, n: attention.decode(d, n, "attention.sm_80", "f16", Case(64, 3, 1, 4, 2, 120, 70, 128, 3, fewer=60)),
    ),
    "prefill of several": Target(
        "attention.sm_80",
        "attention_prefill64_f16",
        lambda d, n: attention.many(
            d, n, "attention.sm_80", "prefill", "f16", Case(64, 3, 66, 2, 1, 140, 60, 210, fewer=70)
        ),
    ),
    "prefill both ways": Target(
        "attention.sm_80",
        "attention_prefill64_f16",
        lambda d, n: attention.many(
            d, n, "attention.sm_80", "prefill", "f16", Case(64, 2, 70, 2, 1, 0, 0, 80, loud=20, both_ways=True)
        ),
    ),
    "any": Target(
        "attention.sm_70",
        "attention_any_f16",
        lambda d, n: attention.many(d, n, "attention.sm_70", "any", "f16", Case(40, 2, 5, 2, 2, 40, 7, 48)),
    ),
    "gemv by mma": Target(
        "gemv.sm_80", "gemv_f16_m8", lambda d, n: gemv.product(d, n, "gemv.sm_80", "f16", "dense", 8, 5)
    ),
    "gemv": Target("gemv.sm_80", "gemv_f16_m2", lambda d, n: gemv.product(d, n, "gemv.sm_80", "f16", "dense", 2, 2)),
    "gemv q4_k": Target(
        "gemv.sm_80", "gemv_q4_k_f16_m1", lambda d, n: gemv.product(d, n, "gemv.sm_80", "f16", "q4_k", 1, 1)
    ),
    "gemv q6_k": Target(
        "gemv.sm_70", "gemv_q6_k_bf16_m4", lambda d, n: gemv.product(d, n, "gemv.sm_70", "bf16", "q6_k", 4, 3)
    ),
    "norm": Target("norm.sm_70", "add_rms_norm_f16", lambda d, n: rows.norm(d, n, "f16", 16392, True)),
    "norm of odd rows": Target("norm.sm_70", "add_rms_norm_bf16", lambda d, n: rows.norm(d, n, "bf16", 1101, True)),
    "rope": Target("rope.sm_70", "rope_cache_f16", lambda d, n: rows.rope(d, n, "f16", 64, True)),
    "quantize": Target("quantize.sm_70", "quantize_q8_f16", lambda d, n: rows.quantize(d, n, "f16", 2112)),
    "layer norm": Target(
        "encoder.sm_70", "add_layer_norm_f16", lambda d, n: encoders.norm(d, n, "f16", 8456, True, True)
    ),
    "gelu": Target("encoder.sm_70", "gelu_f16", lambda d, n: encoders.gelu(d, n, "f16", 4104)),
    "patches": Target("encoder.sm_70", "set_patches_f16", lambda d, n: encoders.patches(d, n, "f16")),
    "positions": Target("encoder.sm_70", "add_positions", encoders.positions),
    "advance": Target("argmax.sm_70", "advance", tokens.advance),
    "gather": Target("embed.sm_70", "gather_rows", tokens.gather),
    "gemm in f32": Target(
        "gemm.sm_80", "gemm_f16", lambda d, n: gemm.product(d, n, "gemm.sm_80", "f16", 130, 257, 232, True)
    ),
    "argmax": Target("argmax.sm_70", "argmax_f16", lambda d, n: tokens.argmax(d, n, "f16", 8200, 1.0)),
    "read": Target("bandwidth.sm_70", "read_bandwidth", ceilings.memory),
    "fma": Target("fma.sm_80", "fma_bf16", lambda d, n: ceilings.multiply_add(d, n, "fma.sm_80", "bf16")),
    "tensor": Target("tensor.sm_80", "tensor_s4", lambda d, n: ceilings.tensor(d, n, "tensor.sm_80", "MMA", "s4")),
    "wgmma": Target(
        "wgmma.sm_90a", "tensor_wgmma_f16", lambda d, n: ceilings.tensor(d, n, "wgmma.sm_90a", "WGMMA", "f16")
    ),
}

MMA = r"(mma\.sync[^;{]*\{[^}]*\},\s*)"  # up to its second operand
VECTOR = r"\{\s*(%\w+),\s*(%\w+)"  # the first two registers of one
LESS = {"shared": lambda size: size - 16}
FEWER_BLOCKS = {"grid": lambda grid: (grid[0] - 1, *grid[1:])}
MUTATIONS = [
    Mutation("gemm", "no barrier", drop(r"bar\.sync")),
    Mutation("gemm", "waits for one group less", change(r"wait_group(\s+)2", r"wait_group\g<1>3")),
    Mutation("gemm", "no wait for copies", drop(r"cp\.async\.wait_group")),
    Mutation("gemm", "the last copies are not committed", drop(r"cp\.async\.commit_group", -1)),
    Mutation("gemm", "16 bytes less of shared memory", launch=LESS),
    Mutation("gemm", "half of the shared memory", launch={"shared": lambda size: size // 2}),
    Mutation("gemm", "one tile less", launch=FEWER_BLOCKS),
    Mutation("gemm", "two registers of A change places", change(MMA + VECTOR, r"\1{\3, \2")),
    Mutation("gemm", "two registers of B change places", change(MMA + r"(\{[^}]*\},\s*)" + VECTOR, r"\1\2{\4, \3", -1)),
    Mutation("gemm", "a transposed matrix", change(r"x4\.shared", "x4.trans.shared")),
    Mutation("gemm", "copies beyond k", change(r"(cp\.async\.cg[^;]*, 16), %\w+;", r"\1;", None)),
    Mutation("gemm", "a source off by 8 bytes", change(r"(cp\.async\.cg[^;]*\], \[%\w+)", r"\1+8")),
    Mutation("gemm", "a destination off by 16 bytes", change(r"(cp\.async\.cg\.shared\.global \[%\w+)", r"\1+16", -1)),
    Mutation("gemm", "rows of half the length", change(r"shl\.b32(\s+%\w+, %\w+), 5;", r"shl.b32\g<1>, 4;")),
    Mutation("gemm", "rows beyond the last are stored", change(r"setp\.(ge|lt)\.u32", "setp.ne.u32", None)),
    Mutation("prefill", "no first barrier", drop(r"bar\.sync")),
    Mutation("prefill", "no second barrier", drop(r"bar\.sync", 1)),
    Mutation("prefill", "waits for one group less", change(r"wait_group(\s+)1", r"wait_group\g<1>2")),
    # The last row's padding of 16 bytes is never touched.
    Mutation("prefill", "32 bytes less of shared memory", launch={"shared": lambda size: size - 32}),
    Mutation("prefill", "one tile of queries less", launch=FEWER_BLOCKS),
    Mutation("prefill", "two registers of the queries change places", change(MMA + VECTOR, r"\1{\3, \2")),
    Mutation("prefill", "values that are not transposed", change(r"x4\.trans", "x4", -1)),
    Mutation("prefill", "a weight of the wrong lanes", change(r"shfl\.sync\.bfly", "shfl.sync.up", -1)),
    Mutation("prefill", "stale rows are copied", change(r"setp\.(lt|ge)\.u32", "setp.ne.u32", None)),
    Mutation("decode", "no first barrier", drop(r"bar\.sync")),
    Mutation("decode", "no barrier before the next heads", drop(r"bar\.sync", 1)),
    Mutation("decode", "a vector off by 4 bytes", change(r"(ld\.global\.v4\.u32[^;]*\[%\w+)", r"\1+4")),
    Mutation("decode", "sums of the wrong lanes", change(r"shfl\.sync\.bfly", "shfl.sync.down")),
    Mutation("decode", "one split less", launch={"grid": lambda grid: (grid[0], max(grid[1:] or (2,)) - 1)}),
    Mutation("decode of several", "rows of the cache are those of the launch", change(r"(ld\.global(?:\.nc)?\.v2\.u32\s+\{)(%\w+), (%\w+)\}", r"\1\3, \2}")),
    Mutation("prefill of several", "places change places", change(r"(ld\.global(?:\.nc)?\.v2\.u32\s+\{)(%\w+), (%\w+)\}", r"\1\3, \2}")),
    Mutation("prefill of several", "all have the first one's place", change(r"mul\.wide\.u32(\s+%\w+, %\w+), 8;", r"mul.wide.u32\1, 0;")),
    Mutation("prefill both ways", "the last sequence is left out", launch={"grid": lambda grid: (*grid[:2], grid[2] - 1)}),
    Mutation("prefill both ways", "stale rows are copied", change(r"setp\.(lt|ge)\.u32", "setp.ne.u32", None)),
    Mutation("combine", "no barrier", drop(r"bar\.sync")),
    Mutation("combine", "a sum of the wrong lanes", change(r"shfl\.sync\.bfly", "shfl.sync.up", -1)),
    Mutation("any", "no bar.warp.sync", drop(r"bar\.warp\.sync")),
    Mutation("any", "a weight of the wrong key", change(r"shfl\.sync\.idx", "shfl.sync.bfly")),
    Mutation("any", "one block of rows less", launch=FEWER_BLOCKS),
    Mutation("gemv by mma", "no barrier", drop(r"bar\.sync")),
    Mutation("gemv by mma", "two registers of A change places", change(MMA + VECTOR, r"\1{\3, \2")),
    Mutation("gemv by mma", "a vector off by 4 bytes", change(r"(no_allocate\.v4\.u32[^;]*\[%\w+)", r"\1+4")),
    Mutation("gemv by mma", "the last block of rows is left out", launch=FEWER_BLOCKS),
    Mutation("gemv by mma", "rows and vectors beyond the last", change(r"setp\.(lt|ge)\.u32", "setp.ne.u32", None)),
    Mutation("gemv", "a vector off by 16 bytes", change(r"(no_allocate\.v4\.u32[^;]*\[%\w+)", r"\1+16")),
    Mutation("gemv", "the last block of rows is left out", launch=FEWER_BLOCKS),
    Mutation("gemv", "rows beyond the last", change(r"setp\.(lt|ge)\.u32", "setp.ne.u32", None)),
    Mutation("gemv", "a sum of the wrong lanes", change(r"shfl\.sync\.bfly", "shfl.sync.up", None)),
    Mutation("gemv", "rows that begin elsewhere", change(r"min\.u32", "max.u32", -1)),
    Mutation("gemv q4_k", "nibbles of 3 bits", change(r"252645135", "117901063")),
    Mutation("gemv q4_k", "scales of 5 bits", change(r"and\.b32(\s+%\w+, %\w+), 63;", r"and.b32\1, 31;")),
    Mutation("gemv q4_k", "a vector off by 4 bytes", change(r"(ld\.global\.v4\.u32[^;]*\[%\w+)", r"\1+4")),
    Mutation("gemv q6_k", "a borrow between bytes", change(r"-2139062144", "0")),
    Mutation("gemv q6_k", "other scales", change(r"(ld\.global\.u32\s+%\w+, \[%\w+)\]", r"\1+4]")),
    Mutation("norm", "no barrier", drop(r"bar\.sync")),
    Mutation("norm", "a vector off by 4 bytes", change(r"(ld\.global\.v4\.f32[^;]*\[%\w+)", r"\1+4")),
    Mutation("norm", "a sum of the wrong lanes", change(r"shfl\.sync\.bfly", "shfl.sync.up", None)),
    Mutation("norm", "a piece of the row more", change(r"setp\.(lt|ge)\.u32", "setp.ne.u32", None)),
    Mutation("norm", "the residual is not kept", drop(r"st\.global\.v4\.f32", -1)),
    Mutation("norm", "one row less", launch=FEWER_BLOCKS),
    Mutation("norm of odd rows", "no barrier", drop(r"bar\.sync", None)),
    Mutation("norm of odd rows", "a column beyond the last", change(r"setp\.lt\.u32", "setp.le.u32")),
    Mutation("norm of odd rows", "a wrong shift", change(r"shl\.b64(\s+%\w+, %\w+), 2;", r"shl.b64\1, 3;")),
    Mutation("rope", "positions behind the cache", change(r"setp\.(lt|ge)\.u32", "setp.ne.u32", 1)),
    Mutation("rope", "the last sequence is left out", launch={"grid": lambda grid: (grid[0] - 3, grid[1])}),
    Mutation("rope", "a sum of the wrong lanes", change(r"shfl\.sync\.bfly", "shfl.sync.up", -1)),
    Mutation("layer norm", "no barrier", drop(r"bar\.sync")),
    Mutation("layer norm", "no barrier between the sums", drop(r"bar\.sync", 1)),
    Mutation("layer norm", "a sum of the wrong lanes", change(r"shfl\.sync\.bfly", "shfl.sync.up", None)),
    Mutation("layer norm", "a piece of the row more", change(r"setp\.(lt|ge)\.u32", "setp.ne.u32", None)),
    Mutation("layer norm", "the residual is not kept", drop(r"st\.global\.v4\.f32", -1)),
    Mutation("layer norm", "one row less", launch=FEWER_BLOCKS),
    Mutation("gelu", "half of one half", change(r"0f3F000000", "0f3E800000", None)),
    Mutation("gelu", "one block less", launch=FEWER_BLOCKS),
    Mutation("gelu", "a piece more", change(r"setp\.(lt|ge)\.u64", "setp.ne.u64", None)),
    Mutation("patches", "no class token", change(r"setp\.(ne|eq)\.s32", "setp.lt.s32", None)),
    Mutation("patches", "one row less", launch=FEWER_BLOCKS),
    Mutation("positions", "those of other rows", change(r"rem\.u32", "div.u32")),
    Mutation("positions", "one row less", launch=FEWER_BLOCKS),
    Mutation("advance", "one sequence more", change(r"setp\.(lt|ge)\.u32", "setp.ne.u32", None)),
    Mutation("gather", "a vector off by 16 bytes", change(r"(ld\.global\.v4\.u32[^;]*\[%\w+)", r"\1+16")),
    Mutation("gather", "one row less", launch=FEWER_BLOCKS),
    Mutation("gemm in f32", "a row more", change(r"setp\.(ge|lt)\.u32", "setp.ne.u32", None)),
    Mutation("gemm in f32", "one tile less", launch=FEWER_BLOCKS),
    Mutation("quantize", "the wrong neighbours", change(r"shfl\.sync\.bfly", "shfl.sync.up")),
    Mutation("quantize", "rounds toward zero", change(r"cvt\.rni\.f32\.f32", "mov.f32")),
    Mutation("quantize", "bytes in another order", change(r"(prmt\.b32[^;]*), (\d+|0x\w+|%\w+);", r"\1, 291;")),
    Mutation("argmax", "no barrier", drop(r"bar\.sync")),
    Mutation("argmax", "an exchange with the wrong lanes", change(r"shfl\.sync\.bfly", "shfl.sync.up", None)),
    Mutation("read", "no barrier", drop(r"bar\.sync")),
    Mutation("read", "whole tiles behind the end", change(r"setp\.gt\.u64", r"setp.eq.u64", None)),
    Mutation("fma", "one step less", drop(r"fma\.rn", -1)),
    Mutation("tensor", "two registers of A change places", change(MMA + VECTOR, r"\1{\3, \2")),
    Mutation("wgmma", "no proxy fence", drop(r"fence\.proxy\.async")),
    Mutation("wgmma", "no barrier", drop(r"bar\.sync")),
    Mutation("wgmma", "no wgmma.fence", drop(r"wgmma\.fence")),
    Mutation("wgmma", "does not wait for the last group", drop(r"wgmma\.wait_group", -1)),
    Mutation("wgmma", "nothing is committed", drop(r"wgmma\.commit_group")),
    Mutation("wgmma", "two accumulators change places", change(r"(mma_async[^;{]*)" + VECTOR, r"\1{\3, \2")),
    Mutation("wgmma", "a step along k twice", drop(r"wgmma\.mma_async", -1)),
    Mutation("wgmma", "16 bytes less of shared memory", launch=LESS),
    Mutation("wgmma", "tiles without swizzle", change(r"xor\.b32(\s+%\w+), (%\w+), %\w+;", r"mov.u32\1, \2;")),
]


def run_target(name):
    """The kernel as it is; what is wrong, or nothing."""
    return attempt(TARGETS[name], Device())


def attempt(target, device):
    """Runs a target's check; what stopped it, or nothing."""
    try:
        target.run(device, numbers_for(target.kernel))
    except (Fault, Wrong, Unknown) as failure:
        return str(failure)
    return ""


def run_mutation(mutation):
    """What found the fault, or nothing."""
    target = TARGETS[mutation.target]
    if mutation.launch:
        return attempt(target, ChangedDevice(mutation.launch))
    return attempt(target, Device({target.file: mutated(target, mutation.edit)}))
