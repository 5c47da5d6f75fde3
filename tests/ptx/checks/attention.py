"""Attention over the cache (kernels/attention.cu): decode and combine, prefill, and the form for any head."""

from typing import NamedTuple

import numpy as np

from . import host
from .framework import F32_SUMS, FORMATS, ROUNDING, Check, ceiling, near, normal


class Case(NamedTuple):
    """One launch: `past` positions are in the cache before the `seq` new ones, of the first sequence; of each further one
    so many fewer as `fewer` says. Sequences have rows of the cache in another order than theirs in the launch."""

    dim: int
    batch: int
    seq: int
    heads: int
    kv_heads: int
    past: int
    window: int
    capacity: int
    splits: int = 0
    loud: int = 1  # queries are so many times larger: wrong maxima make weights overflow
    fewer: int = 0
    both_ways: bool = False  # every position sees every key

    def before(self, sequence):
        """Positions that the cache holds of a sequence."""
        return self.past - self.fewer * sequence

    def row(self, sequence):
        """Its row of the cache."""
        return self.batch - 1 - sequence


# Heads of 64 and 128. One row more than a tile; three tiles of keys, so that one is copied over another that was read;
# windows that hide some of the first tile or all of it.
PREFILL = [
    Case(64, 1, 65, 2, 1, 0, 0, 70),
    Case(64, 2, 70, 2, 2, 70, 100, 150),
    Case(128, 1, 66, 2, 1, 70, 33, 140),
    Case(128, 2, 20, 2, 1, 119, 0, 140, loud=20),
    Case(64, 3, 66, 2, 1, 140, 60, 210, fewer=70),
    Case(64, 2, 70, 2, 1, 0, 0, 80, loud=20, both_ways=True),
    Case(128, 1, 130, 2, 2, 0, 0, 130, both_ways=True),
]
# Of every kernel: ends in each quarter of the first and of a later tile, behind which NaN lies; and positions and
# edges of windows at every place of a tile.
ENDS = [Case(0, 1, 5, 1, 1, end - 5, 0, end + 3) for tile in (0, 64) for end in range(tile + 9, tile + 64, 16)]
EDGES = [Case(0, 1, 64, 1, 1, past, window, past + 64, loud=20) for past in (0, 8) for window in (0, 5)]
# Groups of 4, 8 (two passes over the keys), 1 and 3 heads; pieces of a key that are no power of two; more splits than
# keys, and numbers of them that unrolled loops leave a part of; several rounds over the keys; a window; one lane per
# key, and 32.
DECODE = [
    Case(128, 2, 1, 8, 2, 99, 0, 128, 5),
    Case(64, 1, 1, 8, 1, 300, 180, 320, 2, loud=20),
    Case(80, 1, 1, 6, 2, 150, 0, 160, 3),
    Case(256, 1, 1, 4, 1, 30, 0, 33, 2),
    Case(8, 2, 1, 8, 2, 4, 0, 8, 6),
    Case(16, 1, 1, 2, 1, 2, 0, 8, 8),
    Case(64, 1, 1, 1, 1, 600, 0, 601, 39, loud=20),
    Case(64, 3, 1, 4, 2, 120, 70, 128, 3, fewer=60),
]
# More keys than lanes; a head that is no multiple of 8; a window; warps without a row.
ANY = [
    Case(128, 1, 6, 2, 1, 39, 0, 64, loud=20),
    Case(40, 2, 5, 2, 2, 40, 7, 48),
    Case(39, 1, 3, 1, 1, 0, 0, 3),
    Case(38, 1, 1, 1, 1, 4, 2, 8),
    Case(32, 3, 5, 2, 1, 40, 0, 48, fewer=17),
    Case(32, 2, 37, 2, 2, 0, 0, 40, both_ways=True),
    *(Case(dim, 1, 2, 1, 1, 3, 0, 8) for dim in range(8, 257, 8)),
]


def reference(q, keys, values, case):
    """Attention in double precision: q (batch, seq, heads, dim), keys and values (batch, kv_heads, capacity, dim)."""
    q, keys, values = (x.astype(np.float64) for x in (q, keys, values))
    out = np.zeros((case.batch, case.seq, case.heads, case.dim))
    for sequence in range(case.batch):
        row, past = case.row(sequence), case.before(sequence)
        for token in range(case.seq):
            position = past + token
            first = max(0, position - case.window + 1) if case.window else 0
            seen = slice(first, past + case.seq if case.both_ways else position + 1)
            for head in range(case.heads):
                of_head = head // (case.heads // case.kv_heads)
                scores = keys[row, of_head, seen] @ q[sequence, token, head] / np.sqrt(case.dim)
                weights = np.exp(scores - scores.max())
                out[sequence, token, head] = weights / weights.sum() @ values[row, of_head, seen]
    return out


def places(pairs):
    """Rows of the cache and positions that they hold, as the host sends them."""
    host.follows(host.ENGINE, "places.extend([segment.row as u32, segment.past as u32]);", "self.places.at() + 8 * index")
    return np.array(list(pairs), np.uint32)


def operands(device, numbers, kind, case):
    """Queries as a slice of the joined product, and a cache whose rows behind the positions are NaN: left from another
    sequence, they must not count."""
    dtype = FORMATS[kind]
    qkv = normal(numbers, (case.batch, case.seq, case.heads + 2 * case.kv_heads, case.dim), dtype)
    qkv *= dtype(case.loud)
    qkv[:, :, case.heads :] = np.nan
    cache = (case.batch, case.kv_heads, case.capacity, case.dim)
    keys, values = normal(numbers, cache, dtype), normal(numbers, cache, dtype)
    for sequence in range(case.batch):
        end = case.before(sequence) + case.seq
        keys[case.row(sequence), :, end:] = np.nan
        values[case.row(sequence), :, end:] = np.nan
    past = device.upload(places((case.row(sequence), case.before(sequence)) for sequence in range(case.batch)))
    host.follows(host.ENGINE, "Arg::F32(scale)", "scale: scale_of(attention)", "attention.mask.window().unwrap_or(0)")
    stride = (case.heads + 2 * case.kv_heads) * case.dim
    arguments = [device.upload(qkv), stride, device.upload(keys), device.upload(values), past]
    return arguments, reference(qkv[:, :, : case.heads], keys, values, case)


def many(device, numbers, file, kernel, kind, case):
    """The prefill kernels and the form for any head, which take the same arguments."""
    arguments, wanted = operands(device, numbers, kind, case)
    out = device.room(wanted.size, FORMATS[kind])
    sizes = [case.seq, case.heads, case.kv_heads, case.dim, case.capacity, case.window, case.both_ways, case.dim**-0.5]
    if kernel == "any":
        host.follows(host.ENGINE, "(seq.div_ceil(4), heads, count)")
        grid, shared, name = (ceiling(case.seq, 4), case.heads, case.batch), 0, f"attention_any_{kind}"
    else:
        host.follows(host.ENGINE, "(512 * (dim + 8)) as u32", "(seq.div_ceil(PREFILL_TILE), heads, count)")
        tile = host.constant(host.ENGINE, "PREFILL_TILE")
        grid, shared = (ceiling(case.seq, tile), case.heads, case.batch), 512 * (case.dim + 8)
        name = f"attention_prefill{case.dim}_{kind}"
    threads = host.constant(host.ENGINE, "ATTENTION_THREADS")
    device.launch(file, name, grid, threads, [*arguments, *sizes, out], shared)
    # In prefill the weights of keys are rounded to 16 bits for the second product, and meet values of up to 4.
    typical = 4 * ROUNDING[kind] if kernel == "prefill" else F32_SUMS
    near(device.download(out, wanted.shape, FORMATS[kind]), wanted, ROUNDING[kind], "attention", typical)


def decode(device, numbers, file, kind, case):
    """Decode and combine, one after the other."""
    arguments, wanted = operands(device, numbers, kind, case)
    host.follows(host.ENGINE, "(sequences.count * kv_heads, splits, 1)", "(sequences.count * heads, 1, 1)")
    partial = device.room(case.batch * case.heads * case.splits * (case.dim + 2), np.float32)
    out = device.room(wanted.size, FORMATS[kind])
    sizes = [case.heads, case.kv_heads, case.dim, case.capacity, case.window, case.dim**-0.5, case.splits]
    threads, grid = host.constant(host.ENGINE, "ATTENTION_THREADS"), (case.batch * case.kv_heads, case.splits)
    device.launch(file, f"attention_decode_{kind}", grid, threads, [*arguments, *sizes, partial])
    grid, joined = (case.batch * case.heads,), [partial, out, case.heads, case.dim, case.splits]
    device.launch(file, f"attention_combine_{kind}", grid, threads, joined)
    near(device.download(out, wanted.shape, FORMATS[kind]), wanted, ROUNDING[kind], "attention")


def title(what, file, kind, case):
    """A check's name."""
    sizes = f"{case.dim} of {case.heads}/{case.kv_heads} heads, {case.batch} x {case.seq} behind {case.past}"
    window = f", window {case.window}" if case.window else ""
    window += ", fewer behind the next" if case.fewer else ""
    window += ", both ways" if case.both_ways else ""
    splits = f", {case.splits} splits" if case.splits else ""
    return f"attention {what} {file.split('.')[1]} {kind}: {sizes}{window}{splits}"


def group(launch, cases):
    """A check's function that runs several cases."""

    def run(device, numbers):
        for case in cases:
            launch(device, numbers, case)

    return run


def checks():
    """Both files and formats; the small cases together."""
    for kind in FORMATS:
        file = "attention.sm_80"
        prefill = lambda d, n, case, kind=kind, file=file: many(d, n, file, "prefill", kind, case)  # noqa: E731
        for case in PREFILL:
            yield Check(title("prefill", file, kind, case), group(prefill, [case]), reverse=kind == "f16")
        for dim in (64, 128):
            for name, cases in (("end", ENDS), ("edge", EDGES)):
                run = group(prefill, [case._replace(dim=dim) for case in cases])
                yield Check(f"attention prefill sm_80 {kind}: every {name} of a tile, {dim}", run)
        for file in ("attention.sm_70", "attention.sm_80"):
            run = lambda d, n, case, kind=kind, file=file: decode(d, n, file, kind, case)  # noqa: E731
            for case in DECODE:
                yield Check(title("decode", file, kind, case), group(run, [case]), reverse=kind == "f16")
            run = lambda d, n, case, kind=kind, file=file: many(d, n, file, "any", kind, case)  # noqa: E731
            for case in ANY[:6]:
                yield Check(title("any", file, kind, case), group(run, [case]), reverse=kind == "f16")
            yield Check(f"attention any {file.split('.')[1]} {kind}: every width of a head", group(run, ANY[6:]))
