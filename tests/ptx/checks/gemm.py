"""The product of two matrices (kernels/gemm.cu)."""

import numpy as np

from . import host
from .framework import F32_SUMS, FORMATS, ROUNDING, Check, ceiling, near, normal

GEMM = f"{host.CEILINGS}/gemm.rs"
# (m, n, k): whole tiles, k ending in the third stage; a row and a column more, k ending in the second; an odd n and
# fewer slices than stages; many more slices than stages; nine tiles of rows, so that the second group has one.
SHAPES = [(128, 128, 72), (129, 130, 40), (70, 201, 8), (257, 96, 392), (1030, 136, 24)]
# A last row and a last column at every place that a warp's sums have in a tile, columns even and odd.
EDGES = [(8 * i + 3, 8 * (i * 5 % 16) + last, 8) for i in range(16) for last in (2, 5)]


def product(device, numbers, file, kind, m, n, k, wide=False):
    """One product against double precision; its results in f32 where it is `wide`."""
    dtype = FORMATS[kind]
    a, b = normal(numbers, (m, k), dtype), normal(numbers, (n, k), dtype)
    of_result = np.float32 if wide else dtype
    d = device.room(m * n, of_result)
    tile, shared = host.constant(GEMM, "TILE"), host.constant(GEMM, "SHARED_BYTES")
    host.follows(host.ENGINE, "m.div_ceil(gemm::TILE) * n.div_ceil(gemm::TILE)", "THREADS, gemm::SHARED_BYTES")
    blocks = ceiling(m, tile) * ceiling(n, tile)
    threads = host.constant(host.ENGINE, "THREADS")
    host.follows(host.ENGINE, "product.y.into(), x.into(), Arg::U64(weights), m, n, k, width")
    arguments = [d, device.upload(a), device.upload(b), m, n, k, wide]
    device.launch(file, f"gemm_{kind}", (blocks,), threads, arguments, shared)
    wanted = a.astype(np.float64) @ b.astype(np.float64).T
    near(device.download(d, (m, n), of_result), wanted, F32_SUMS if wide else ROUNDING[kind], "the product")


def checks():
    """Every shape in both formats."""
    for kind in FORMATS:
        for m, n, k in SHAPES:
            run = lambda device, numbers, s=(kind, m, n, k): product(device, numbers, "gemm.sm_80", *s)  # noqa: E731
            yield Check(f"gemm {kind} {m} x {n} x {k}", run, reverse=kind == "bf16")

        for wide in (False, True):

            def edges(device, numbers, kind=kind, wide=wide):
                for shape in EDGES:
                    product(device, numbers, "gemm.sm_80", kind, *shape, wide)

            yield Check(f"gemm {kind}: every edge{', in f32' if wide else ''}", edges)
