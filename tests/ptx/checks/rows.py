"""The kernels between the products: norm, rotation and cache, gate, bias, quantization of activations."""

import numpy as np

from . import formats, host
from .attention import places as pairs_of
from .framework import FORMATS, ROUNDING, Check, Wrong, ceiling, near, normal, same

NORM, GATE, ROPE, BIAS, QUANTIZE = (f"{name}.sm_70" for name in ("norm", "gate", "rope", "bias", "quantize"))


def norm(device, numbers, kind, cols, with_delta, rows=2):
    """The residual plus what a block left, and its norm. The block's threads are a formula of the width."""
    host.follows(host.ENGINE, "hidden.div_ceil(8).next_multiple_of(32)).min(1024)")
    threads = min(ceiling(ceiling(cols, 8), 32) * 32, 1024)
    dtype, epsilon = FORMATS[kind], np.float32(1e-5)
    residual, delta = normal(numbers, (rows, cols), np.float32), normal(numbers, (rows, cols), dtype)
    residual[:, -8:] *= 30  # so that the sum of squares tells when the end of a row is not in it
    weight = numbers.random(cols).astype(np.float32)
    at, out = device.upload(residual), device.room(rows * cols, dtype)
    of_delta = device.upload(delta) if with_delta else 0
    arguments = [at, of_delta, device.upload(weight), out, cols, epsilon]
    device.launch(NORM, f"add_rms_norm_{kind}", (rows,), threads, arguments)
    total = residual.astype(np.float64) + (delta.astype(np.float64) if with_delta else 0)
    near(device.download(at, (rows, cols), np.float32), total, 1e-6, "the residual")
    wanted = total / np.sqrt((total**2).mean(1, keepdims=True) + epsilon) * weight
    near(device.download(out, (rows, cols), dtype), wanted, ROUNDING[kind], "the norm")


def rope(device, numbers, kind, dim, with_norm, turns=True, past=5):
    """Rotation in place, keys and values into the cache. Sequences are behind different numbers of positions, in rows of
    the cache of another order, one of which is of none of them. Of the first the end does not fit the cache: nothing may be
    written behind it. Queries, keys and values lie side by side, as the host joins their products."""
    batch, seq, heads, kv_heads, capacity, lines = 2, 3, 5, 2, past + 2, 3
    before, row_of = np.array([past, past - 4]), np.array([2, 0])
    host.follows(host.ENGINE, "(rows, (heads + kv_heads).div_ceil(4), 1)")
    dtype, stride, rows = FORMATS[kind], (heads + 2 * kv_heads) * dim, batch * seq
    qkv = normal(numbers, (rows, heads + 2 * kv_heads, dim), dtype)
    cos, sin = (normal(numbers, (capacity, dim // 2), np.float32) for _ in range(2))
    weights = [numbers.random(dim).astype(np.float32) for _ in range(2)]
    at = device.upload(qkv)
    old = np.full((lines, kv_heads, capacity, dim), -7, dtype)
    keys, values = device.upload(old), device.upload(old)
    norms = [device.upload(weight) if with_norm else 0 for weight in weights]
    places = [at, at + 2 * heads * dim, at + 2 * (heads + kv_heads) * dim, stride, stride, stride]
    tables = [device.upload(cos), device.upload(sin)] if turns else [0, 0]
    of_sequences = device.upload(pairs_of(zip(row_of, before)))
    arguments = [*places, *norms, 1e-6, *tables, of_sequences, seq, heads, kv_heads, dim, capacity, keys, values]
    threads = host.constant(host.ENGINE, "ATTENTION_THREADS")
    device.launch(ROPE, f"rope_cache_{kind}", (rows, ceiling(heads + kv_heads, 4)), threads, arguments)

    x = qkv.astype(np.float64)
    y = x.copy()
    if with_norm:
        turned = x[:, : heads + kv_heads]
        of_head = np.stack([weights[0]] * heads + [weights[1]] * kv_heads)
        y[:, : heads + kv_heads] = turned / np.sqrt((turned**2).mean(2, keepdims=True) + 1e-6) * of_head
    position = before[np.arange(rows) // seq] + np.arange(rows) % seq
    fits = position < capacity
    c, s = (table[np.minimum(position, capacity - 1)][:, None].astype(np.float64) for table in (cos, sin))
    c, s = (c, s) if turns else (1, 0)
    a, b = y[..., : dim // 2].copy(), y[..., dim // 2 :].copy()
    y = np.concatenate([a * c - b * s, a * s + b * c], 2)
    y[~fits] = x[~fits]
    near(device.download(at, qkv.shape, dtype)[:, :heads], y[:, :heads], ROUNDING[kind], "the queries")
    same(device.download(at, qkv.shape, dtype)[:, heads:], qkv[:, heads:], "keys and values, which stay")
    for name, place, new in (("keys", keys, y[:, heads:-kv_heads]), ("values", values, x[:, -kv_heads:])):
        wanted = old.astype(np.float64)
        for row in np.nonzero(fits)[0]:
            wanted[row_of[row // seq], :, position[row]] = new[row]
        near(device.download(place, old.shape, dtype), wanted, ROUNDING[kind] if name == "keys" else 0, name)


def gate(device, numbers, kind, cols, rows=2):
    """silu(gate) * up, which are halves of one buffer."""
    host.follows(host.ENGINE, "(rows, ff.div_ceil(2048), 1)")
    dtype = FORMATS[kind]
    both = normal(numbers, (rows, 2 * cols), dtype)
    both[0, :3] = [0, 30, -30]
    at, out = device.upload(both), device.room(rows * cols, dtype)
    arguments = [at, at + 2 * cols, 2 * cols, 2 * cols, out, cols]
    grid, threads = (rows, ceiling(cols, 2048)), host.constant(host.ENGINE, "THREADS")
    device.launch(GATE, f"silu_mul_{kind}", grid, threads, arguments)
    g, up = both[:, :cols].astype(np.float64), both[:, cols:].astype(np.float64)
    near(device.download(out, (rows, cols), dtype), g / (1 + np.exp(-g)) * up, ROUNDING[kind], "the gate")


def bias(device, numbers, kind, rows=3, cols=301):
    """A vector added to each row, rounded to the format: the nearest even of a tie, infinities and NaN among them."""
    host.follows(host.ENGINE, "(m, 1, 1), THREADS", "[product.y.into(), bias.into(), n.into()]")
    dtype = FORMATS[kind]
    y, shift = normal(numbers, (rows, cols), dtype), normal(numbers, cols, dtype)
    y[0, :6] = [np.inf, -np.inf, np.nan, np.finfo(np.float16).max, np.inf, 1]
    shift[:6] = [1, 1, 1, np.finfo(np.float16).max, -np.inf, 2.0**-11]
    y[1, 5], y[2, 5] = 1 + 2.0**-7, 256
    at = device.upload(y)
    threads = host.constant(host.ENGINE, "THREADS")
    device.launch(BIAS, f"add_bias_{kind}", (rows,), threads, [at, device.upload(shift), cols])
    with np.errstate(all="ignore"):
        wanted = (y.astype(np.float32) + shift.astype(np.float32)).astype(dtype)
    got, strange = device.download(at, (rows, cols), dtype), np.isnan(wanted)
    same(np.isnan(got), strange, "whether the sum is NaN")
    same(got[~strange], wanted[~strange], "the sum")


def quantize(device, numbers, kind, cols, rows=3):
    """8-bit blocks. A NaN or an infinity makes its block's scale NaN; a block of zeros is zeros."""
    host.follows(host.ENGINE, "(m, cols.div_ceil(2048), 1)")
    dtype = FORMATS[kind]
    x = normal(numbers, (rows, cols), dtype)
    x[0, :32] = 0
    x[1, 40], x[2, cols - 1] = np.nan, -np.inf
    q, pairs = device.room(rows * cols, np.int8), device.room(rows * cols // 32 * 2, np.float32)
    grid, threads = (rows, ceiling(cols, 2048)), host.constant(host.ENGINE, "THREADS")
    device.launch(QUANTIZE, f"quantize_q8_{kind}", grid, threads, [device.upload(x), q, pairs, cols])
    q = device.download(q, (rows, cols // 32, 32), np.int8)
    pairs = device.download(pairs, (rows, cols // 32, 2), np.float32)
    poisoned = np.zeros(pairs.shape[:2], bool)
    poisoned[1, 1] = poisoned[2, -1] = True
    if not np.isnan(pairs[poisoned]).all() or np.isnan(pairs[~poisoned]).any():
        raise Wrong("the scales of blocks with a NaN or an infinity, and of those alone, should be NaN")
    _, wanted, _ = formats.quantized(np.where(np.isfinite(x), x, 0).astype(np.float32))
    near(pairs[~poisoned][:, 0], wanted[~poisoned][:, 0], 1e-6, "the scale")
    sums = pairs[~poisoned][:, 0] * q[~poisoned].sum(1, dtype=np.int32).astype(np.float32)
    same(pairs[~poisoned][:, 1], sums, "the scaled sum")
    back = (q * pairs[..., :1])[~poisoned]
    step = pairs[~poisoned][:, :1]
    if (np.abs(back - x.reshape(q.shape)[~poisoned].astype(np.float32)) > 0.501 * step).any():
        raise Wrong("a number is further than half a step from what it stands for")


def checks():
    """Widths with and without whole 16-byte pieces, and beyond what a block holds in registers."""
    for kind in FORMATS:
        for cols, with_delta in ((72, True), (16392, True), (16392, False), (20, True), (100, False), (1101, True)):
            run = lambda d, n, s=(kind, cols, with_delta): norm(d, n, *s)  # noqa: E731
            yield Check(f"norm {kind} of {cols}{' and a delta' if with_delta else ''}", run)
        for dim, with_norm in ((128, False), (64, True), (80, False), (32, True), (264, True)):
            run = lambda d, n, s=(kind, dim, with_norm): rope(d, n, *s)  # noqa: E731
            yield Check(f"rope {kind} of {dim}{' and a norm' if with_norm else ''}", run)
        yield Check(f"rope {kind} that does not turn", lambda d, n, kind=kind: rope(d, n, kind, 32, False, turns=False))
        for cols in (2056, 996, 4104):
            yield Check(f"gate {kind} of {cols}", lambda d, n, s=(kind, cols): gate(d, n, *s))
        yield Check(f"bias {kind}", lambda d, n, kind=kind: bias(d, n, kind))
        for cols in (2112, 64):
            yield Check(f"quantize {kind} of {cols}", lambda d, n, s=(kind, cols): quantize(d, n, *s))
