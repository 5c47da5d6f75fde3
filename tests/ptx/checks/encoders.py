"""What encoders have beside products and attention (kernels/encoder.cu)."""

import math

import numpy as np

from . import host
from .framework import F32_SUMS, FORMATS, ROUNDING, Check, ceiling, near, normal, same

ENCODER = "encoder.sm_70"


def norm(device, numbers, kind, cols, with_delta, keeps, rows=2):
    """The residual plus what a block left, and its layer norm, of numbers far from zero: what a difference of squares would
    lose. The residual is the sum, or the norm where it is kept."""
    host.follows(host.ENGINE, "(hidden.div_ceil(8).next_multiple_of(32)).min(1024)", "out.into(), hidden.into(), eps.into(), keeps")
    threads = min(ceiling(ceiling(cols, 8), 32) * 32, 1024)
    dtype, epsilon = FORMATS[kind], np.float32(1e-5)
    residual, delta = normal(numbers, (rows, cols), np.float32) + np.float32(30), normal(numbers, (rows, cols), dtype)
    residual[:, -8:] *= 3  # so that the sums tell when the end of a row is not in them
    weight, bias = normal(numbers, cols, np.float32), normal(numbers, cols, np.float32)
    at, out = device.upload(residual), device.room(rows * cols, dtype)
    of_delta = device.upload(delta) if with_delta else 0
    arguments = [at, of_delta, device.upload(weight), device.upload(bias), out, cols, epsilon, keeps]
    device.launch(ENCODER, f"add_layer_norm_{kind}", (rows,), threads, arguments)
    total = residual.astype(np.float64) + (delta.astype(np.float64) if with_delta else 0)
    apart = total - total.mean(1, keepdims=True)
    wanted = apart / np.sqrt((apart**2).mean(1, keepdims=True) + epsilon) * weight + bias
    near(device.download(out, (rows, cols), dtype), wanted, ROUNDING[kind], "the norm", 1e-5)
    near(device.download(at, (rows, cols), np.float32), wanted if keeps else total, 1e-6, "the residual", 1e-5)


def gelu(device, numbers, kind, count):
    """In place, of numbers of every size; those behind the last stay."""
    host.follows(host.ENGINE, "(count.div_ceil(2048), 1, 1), THREADS, &args", "let args = [x.into(), Arg::U64(count)];")
    dtype = FORMATS[kind]
    x = normal(numbers, count + 8, dtype) * dtype(3)
    x[:6] = [0, -0.0, 60, -60, 1e-3, -1e-3]
    x[-8:] = 5
    at = device.upload(x)
    device.launch(ENCODER, f"gelu_{kind}", (ceiling(count, 2048),), host.constant(host.ENGINE, "THREADS"), [at, count])
    got, of = device.download(at, count + 8, dtype), x[:count].astype(np.float64)
    wanted = of * (1 + np.array([math.erf(value / math.sqrt(2)) for value in of])) / 2
    # Far below zero the sum of 1 and erf has no digits left.
    near(got[:count], wanted, ROUNDING[kind], "GELU", 1e-6)
    same(got[count:], x[count:], "what lies behind")


def positions(device, numbers, cols=520, seq=3, sequences=2):
    """A row of the table on each row of every sequence."""
    host.follows(host.ENGINE, "[residual.into(), positions.into(), seq.into(), cols.into()]")
    rows = sequences * seq
    residual, table = normal(numbers, (rows, cols), np.float32), normal(numbers, (seq + 1, cols), np.float32)
    at, threads = device.upload(residual), host.constant(host.ENGINE, "THREADS")
    device.launch(ENCODER, "add_positions", (rows,), threads, [at, device.upload(table), seq, cols])
    same(device.download(at, (rows, cols), np.float32), residual + np.tile(table[:seq], (sequences, 1)), "the sum")


def patches(device, numbers, kind, cols=520, seq=4, sequences=2):
    """The class token, then the patches of each image, with their positions."""
    host.follows(
        host.ENGINE,
        "[residual.into(), patches.into(), class_token.into(), positions.into(), seq.into(), cols.into()]",
    )
    dtype, rows = FORMATS[kind], sequences * seq
    made, table = normal(numbers, (sequences, seq - 1, cols), dtype), normal(numbers, (seq, cols), np.float32)
    token = normal(numbers, cols, np.float32)
    at, threads = device.room(rows * cols, np.float32), host.constant(host.ENGINE, "THREADS")
    arguments = [at, device.upload(made), device.upload(token), device.upload(table), seq, cols]
    device.launch(ENCODER, f"set_patches_{kind}", (rows,), threads, arguments)
    first = np.broadcast_to(token, (sequences, 1, cols))
    wanted = np.concatenate([first, made.astype(np.float32)], 1) + table
    near(device.download(at, wanted.shape, np.float32), wanted, 1e-7, "the rows", F32_SUMS)


def checks():
    """Rows of one piece for each thread, of less than all threads have, and of more."""
    for kind in FORMATS:
        for cols, with_delta, keeps in ((72, True, False), (8456, True, True), (768, False, False), (384, True, True)):
            run = lambda d, n, s=(kind, cols, with_delta, keeps): norm(d, n, *s)  # noqa: E731
            yield Check(f"layer norm {kind} of {cols}{' and a delta' if with_delta else ''}{', kept' if keeps else ''}", run)
        for count in (4104, 64):
            yield Check(f"gelu {kind} of {count}", lambda d, n, s=(kind, count): gelu(d, n, *s))
        yield Check(f"patches {kind}", lambda d, n, kind=kind: patches(d, n, kind))
    yield Check("positions", positions)
