"""A weight matrix times a few vectors (kernels/gemv.cu)."""

import numpy as np

from . import formats, host
from .framework import F32_SUMS, FORMATS, ROUNDING, Check, ceiling, near, normal

# Columns that fill the loop over several pieces per lane at least once and leave some pieces over, the last for part of
# a warp.
COLUMNS = {"dense": 1944, "q8_0": 3904, "q4_0": 7776, "q4_k": 7680, "q6_k": 6912}
# How many vectors each width of kernel gets: the host rounds their number up to a power of two.
WHOLE, PARTIAL = {1: 1, 2: 2, 4: 4, 8: 8}, {4: 3, 8: 5}
# Columns for further launches: few, and for dense rows an end in each piece of the loop on tensor cores.
SMALL = {"dense": (24, 56, 88, 120), "q8_0": (32, 1056), "q4_0": (32, 1056), "q4_k": (256, 1280), "q6_k": (256, 1280)}
ROWS = 19  # a last block, and in it a last warp, with fewer rows than it could take


def product(device, numbers, file, kind, form, width, vectors, with_bias=True, rows=ROWS, cols=None, wide=False):
    """y (m, rows) = x w^T + bias, in f32 where it is `wide`. The host sets the rows of y side by side."""
    dtype, cols = FORMATS[kind], cols or COLUMNS[form]
    host.follows(host.ENGINE, "matrix.rows.div_ceil(if width == 1 { 8 } else { 16 })", "rows.next_power_of_two()")
    host.follows(host.ENGINE, "vec![y.into(), matrix.rows.into(), (&matrix.quants).into()]")
    grid = (ceiling(rows, 8 if width == 1 else 16),)
    x, bias = normal(numbers, (vectors, cols), dtype), normal(numbers, rows, dtype)
    of_result = np.float32 if wide else dtype
    y = device.room(vectors * rows, of_result)
    of_bias = device.upload(bias) if with_bias else 0
    host.follows(host.ENGINE, "matrix.rows.into(), matrix.cols.into(), rows.into(), product.width.arg()")
    sizes = [of_bias, rows, cols, vectors, wide]
    if form == "dense":
        weights = normal(numbers, (rows, cols), dtype)
        name, operands = f"gemv_{kind}_m{width}", [device.upload(weights), device.upload(x)]
    else:
        quants, scales, weights = formats.matrix(numbers, form, rows, cols)
        q, pairs, x = formats.quantized(x.astype(np.float64))
        name, operands = f"gemv_{form}_{kind}_m{width}", [device.upload(part) for part in (quants, scales, q, pairs)]
    device.launch(file, name, grid, host.constant(host.ENGINE, "THREADS"), [y, rows, *operands, *sizes])
    wanted = x.astype(np.float64) @ weights.astype(np.float64).T + (bias.astype(np.float64) if with_bias else 0)
    rounding = F32_SUMS if wide else ROUNDING[kind]
    near(device.download(y, (vectors, rows), of_result), wanted, rounding, "the product")


def checks():
    """Every kernel of both files; fewer vectors than a kernel is for in one format of each file."""
    for file, partial in (("gemv.sm_70", "bf16"), ("gemv.sm_80", "f16")):
        for kind in FORMATS:
            for form in COLUMNS:
                for width, vectors in [*WHOLE.items(), *(PARTIAL.items() if kind == partial else ())]:

                    def run(device, numbers, s=(file, kind, form, width, vectors)):
                        product(device, numbers, *s)
                        for cols in SMALL[s[2]]:
                            product(device, numbers, *s, with_bias=False, cols=cols)
                        for with_bias in (True, False):
                            product(device, numbers, *s, with_bias, cols=SMALL[s[2]][1], wide=True)

                    yield Check(f"gemv {file.split('.')[1]} {form} {kind} m{width} of {vectors}", run)
