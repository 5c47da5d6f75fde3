"""A weight matrix times a few vectors (kernels/gemv.cu)."""

import numpy as np

from . import formats, host
from .framework import FORMATS, TOLERANCE, Check, ceiling, near, normal

# Columns that fill the loop over four pieces per lane once and leave a part of a piece's round over.
COLUMNS = {"dense": 1048, "q8_0": 2336, "q4_0": 4384, "q4_k": 4352, "q6_k": 4352}
# How many vectors each width of kernel gets: the host rounds their number up to a power of two.
VECTORS = {1: 1, 2: 2, 4: 3, 8: 5}
ROWS = 19  # a last block, and in it a last warp, with fewer rows than it could take


def product(device, numbers, file, kind, form, width, vectors, with_bias=True, rows=ROWS, cols=None):
    """y (m, rows) = x w^T + bias. The host sets the rows of y side by side."""
    dtype, cols = FORMATS[kind], cols or COLUMNS[form]
    host.follows(host.PRODUCTS, "matrix.rows.div_ceil(if width == 1 { 8 } else { 16 })", "rows.next_power_of_two()")
    host.follows(host.PRODUCTS, "vec![y.into(), matrix.rows.into(), (&matrix.quants).into()]")
    grid = (ceiling(rows, 8 if width == 1 else 16),)
    x, bias = normal(numbers, (vectors, cols), dtype), normal(numbers, rows, dtype)
    y = device.room(vectors * rows, dtype)
    of_bias = device.upload(bias) if with_bias else 0
    sizes = [of_bias, rows, cols, vectors]
    if form == "dense":
        weights = normal(numbers, (rows, cols), dtype)
        name, operands = f"gemv_{kind}_m{width}", [device.upload(weights), device.upload(x)]
    else:
        quants, scales, weights = formats.matrix(numbers, form, rows, cols)
        q, pairs, x = formats.quantized(x.astype(np.float64))
        name, operands = f"gemv_{form}_{kind}_m{width}", [device.upload(part) for part in (quants, scales, q, pairs)]
    device.launch(file, name, grid, host.constant(host.PRODUCTS, "THREADS"), [y, rows, *operands, *sizes])
    wanted = x.astype(np.float64) @ weights.astype(np.float64).T + (bias.astype(np.float64) if with_bias else 0)
    near(device.download(y, (vectors, rows), dtype), wanted, TOLERANCE[kind], "the product")


def checks():
    """Every kernel of both files; the full width of 8 once more for each file and format."""
    for file in ("gemv.sm_70", "gemv.sm_80"):
        for kind in FORMATS:
            for form in COLUMNS:
                for width, vectors in [*VECTORS.items(), (8, 8)] if form in ("dense", "q4_k") else VECTORS.items():

                    def run(device, numbers, s=(file, kind, form, width, vectors)):
                        product(device, numbers, *s, with_bias=s[3] != 2)

                    yield Check(f"gemv {file.split('.')[1]} {form} {kind} m{width} of {vectors}", run)
