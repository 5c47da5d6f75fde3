"""The product of two matrices (kernels/gemm.cu)."""

import numpy as np

from . import host
from .framework import FORMATS, ROUNDING, Check, ceiling, near, normal

GEMM = f"{host.CEILINGS}/gemm.rs"
# (m, n, k): whole tiles, k ending in the third stage; a row and a column more, k ending in the second; an odd n and
# fewer slices than stages; many more slices than stages; nine tiles of rows, so that the second group has one.
SHAPES = [(128, 128, 72), (129, 130, 40), (70, 201, 8), (257, 96, 392), (1030, 136, 24)]
# A last row and a last column at every place that a warp's sums have in a tile, columns even and odd.
EDGES = [(8 * i + 3, 8 * (i * 5 % 16) + last, 8) for i in range(16) for last in (2, 5)]


def product(device, numbers, file, kind, m, n, k):
    """One product against double precision."""
    dtype = FORMATS[kind]
    a, b = normal(numbers, (m, k), dtype), normal(numbers, (n, k), dtype)
    d = device.room(m * n, dtype)
    tile, shared = host.constant(GEMM, "TILE"), host.constant(GEMM, "SHARED_BYTES")
    host.follows(host.ENGINE, "m.div_ceil(gemm::TILE) * n.div_ceil(gemm::TILE)", "THREADS, gemm::SHARED_BYTES")
    blocks = ceiling(m, tile) * ceiling(n, tile)
    threads = host.constant(host.ENGINE, "THREADS")
    arguments = [d, device.upload(a), device.upload(b), m, n, k]
    device.launch(file, f"gemm_{kind}", (blocks,), threads, arguments, shared)
    wanted = a.astype(np.float64) @ b.astype(np.float64).T
    near(device.download(d, (m, n), dtype), wanted, ROUNDING[kind], "the product")


def checks():
    """Every shape in both formats."""
    for kind in FORMATS:
        for m, n, k in SHAPES:
            run = lambda device, numbers, s=(kind, m, n, k): product(device, numbers, "gemm.sm_80", *s)  # noqa: E731
            yield Check(f"gemm {kind} {m} x {n} x {k}", run, reverse=kind == "bf16")

        def edges(device, numbers, kind=kind):
            for shape in EDGES:
                product(device, numbers, "gemm.sm_80", kind, *shape)

        yield Check(f"gemm {kind}: every edge", edges)
