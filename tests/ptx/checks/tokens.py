"""The two ends of a step: rows of the embedding and of quantized matrices, and the choice of the largest logit."""

import numpy as np

from . import formats, host
from .framework import FORMATS, ROUNDING, Check, near, normal, same

ARGMAX, EMBED = "argmax.sm_70", "embed.sm_70"
THREADS = 1024  # of argmax


def argmax(device, numbers, kind, vocab, strange):
    """The first of the largest logits of each row, NaN never; `strange` is what stands in one place."""
    host.follows(host.ENGINE, "(rows, 1, 1), 1024, &args")
    dtype = FORMATS[kind]
    logits = normal(numbers, (4, vocab), dtype)
    logits[1, 5] = strange
    logits[2, [vocab - 1, 77, 300]] = logits[2].astype(np.float32).max() + 1  # a tie: the first wins
    logits[3] = np.nan if np.isnan(strange) else -1
    ids, flag = device.room(4, np.uint32), device.upload(np.zeros(1, np.uint32))
    device.launch(ARGMAX, f"argmax_{kind}", (4,), THREADS, [device.upload(logits), vocab, ids, flag])
    ordered = np.where(np.isnan(logits.astype(np.float32)), -np.inf, logits.astype(np.float32))
    same(device.download(ids, 4, np.uint32), ordered.argmax(1), "the choice")
    same(device.download(flag, 1, np.uint32), [0 if np.isfinite(strange) else 1], "whether all were finite")


def places(device, numbers, kind, vocab=40968):
    """A tie and a number that is not finite in every place that a thread's loop has: the loop takes 8 logits at a time
    from 1024 threads, and here has five rounds."""
    logits = normal(numbers, vocab, FORMATS[kind])
    at, ids, flag = device.upload(logits), device.room(1, np.uint32), device.upload(np.zeros(1, np.uint32))
    for turn in range(5):
        for place in range(8):
            thread = 8 if turn == 4 else int(numbers.integers(1024))  # the last round is of 9 threads
            row, first = logits.copy(), 8 * (1024 * turn + thread) + place
            row[[first, *numbers.integers(first, vocab, 2)]] = 9
            row[(first + 3) % 8 + first // 8 * 8] = [np.inf, np.nan, -np.inf, 0][place % 4]
            device.memory.write(at, row)
            device.memory.write(flag, np.zeros(1, np.uint32))
            device.launch(ARGMAX, f"argmax_{kind}", (1,), THREADS, [at, vocab, ids, flag])
            ordered = np.where(np.isnan(row.astype(np.float32)), -np.inf, row.astype(np.float32))
            same(device.download(ids, 1, np.uint32), [ordered.argmax()], "the choice")
            same(device.download(flag, 1, np.uint32), [not np.isfinite(row).all()], "whether all were finite")


def advance(device, numbers):
    """Positions of each sequence counted on by a step's tokens, of more sequences than threads too, and of no others."""
    host.follows(host.ENGINE, "[places.into(), sequences.into(), by.into()]", "(1, 1, 1), 32, 0, &args")
    for sequences in (1, 32, 71):
        places = np.arange(2 * sequences + 2, dtype=np.uint32).reshape(-1, 2)
        at = device.upload(places)
        device.launch(ARGMAX, "advance", (1,), 32, [at, sequences, 3])
        places[:sequences, 1] += 3
        same(device.download(at, places.shape, np.uint32), places, "the counts")


def gather(device, numbers, cols=2088):
    """Rows of 16 bits by their numbers, whatever the bits are, one of them twice."""
    host.follows(host.ENGINE, "[out.into(), table.into(), ids.into(), cols.into()]", "(rows, 1, 1), THREADS, 0, &args")
    table, ids = numbers.integers(0, 1 << 16, (9, cols)).astype(np.uint16), np.array([8, 3, 3, 0], np.uint32)
    out = device.room(4 * cols, np.uint16)
    arguments = [out, device.upload(table), device.upload(ids), cols]
    device.launch(EMBED, "gather_rows", (4,), host.constant(host.ENGINE, "THREADS"), arguments)
    same(device.download(out, (4, cols), np.uint16), table[ids], "the row")


def embed(device, numbers, kind, cols=2088):
    """Rows of a table in 16 bits, which become f32 exactly."""
    host.follows(host.ENGINE, "let args = [residual, (&table.quants).into(), ids, hidden.into()];")
    table, ids = normal(numbers, (9, cols), FORMATS[kind]), np.array([3, 8, 0], np.uint32)
    out = device.room(3 * cols, np.float32)
    arguments = [out, device.upload(table), device.upload(ids), cols]
    device.launch(EMBED, f"embed_{kind}", (3,), host.constant(host.ENGINE, "THREADS"), arguments)
    same(device.download(out, (3, cols), np.float32), table[ids].astype(np.float32), "the row")


def blocks(device, numbers, form, cols=2304, rows=6):
    """Rows of a quantized table by their numbers in f32, and all rows or some of it in 16 bits."""
    quants, scales, wanted = formats.matrix(numbers, form, rows, cols)
    ids = np.array([5, 0, 2], np.uint32)
    matrix, of_ids = [device.upload(quants), device.upload(scales)], device.upload(ids)
    threads = host.constant(host.ENGINE, "THREADS")
    out = device.room(3 * cols, np.float32)
    device.launch(EMBED, f"embed_{form}", (3,), threads, [out, *matrix, of_ids, cols])
    near(device.download(out, (3, cols), np.float32), wanted[ids], 1e-6, "the row")
    host.follows(host.ENGINE, "(matrix.rows, 1, 1), THREADS", "Arg::U64(0), matrix.cols.into()]")
    for kind, dtype in FORMATS.items():
        for chosen in (None, ids):
            n = rows if chosen is None else len(ids)
            out = device.room(n * cols, dtype)
            arguments = [out, *matrix, 0 if chosen is None else of_ids, cols]
            device.launch(EMBED, f"dequantize_{form}_{kind}", (n,), threads, arguments)
            of = wanted if chosen is None else wanted[chosen]
            near(device.download(out, (n, cols), dtype), of, ROUNDING[kind], f"the {kind} matrix")


def checks():
    """Vocabularies in whole 16-byte pieces and not."""
    for kind in FORMATS:
        for vocab, strange in ((40968, np.nan), (1003, np.inf), (8200, 1.0), (1003, np.nan)):
            run = lambda d, n, s=(kind, vocab, strange): argmax(d, n, *s)  # noqa: E731
            yield Check(f"argmax {kind} of {vocab} with {strange}", run)
        yield Check(f"argmax {kind}, ties in every place", lambda d, n, kind=kind: places(d, n, kind))
        yield Check(f"embed {kind}", lambda d, n, kind=kind: embed(d, n, kind))
    yield Check("advance", advance)
    yield Check("gather", gather)
    for form in formats.MAKERS:
        yield Check(f"embed and dequantize {form}", lambda d, n, form=form: blocks(d, n, form))
