"""Block-quantized weights as kernels/embed.cu and gemv.cu hold them, and activations in 8 bits."""

import numpy as np


def bytes_of(numbers, *shape):
    """Random bytes."""
    return numbers.integers(0, 256, shape).astype(np.uint8)


def scales_of(numbers, *shape):
    """Random scales in f16."""
    return (numbers.random(shape) * 0.02 + 0.001).astype(np.float16)


def q8_0(numbers, rows, cols):
    """Blocks of 32 signed bytes with a scale."""
    quants = numbers.integers(-128, 128, (rows, cols // 32, 32)).astype(np.int8)
    scale = scales_of(numbers, rows, cols // 32)
    return quants, scale, quants * scale.astype(np.float64)[..., None]


def q4_0(numbers, rows, cols):
    """Blocks of 32: byte j of 16 holds weights j (low) and j + 16; 8 less, times a scale."""
    quants = bytes_of(numbers, rows, cols // 32, 16)
    scale = scales_of(numbers, rows, cols // 32)
    values = np.concatenate([quants & 15, quants >> 4], 2) - 8.0
    return quants, scale, values * scale.astype(np.float64)[..., None]


def q4_k(numbers, rows, cols):
    """Blocks of 256 in 8 groups with 6-bit scales and minima, packed into 12 bytes behind d and dmin."""
    blocks = cols // 256
    quants, packed = bytes_of(numbers, rows, blocks, 4, 32), bytes_of(numbers, rows, blocks, 12)
    d = scales_of(numbers, rows, blocks, 2)
    p = packed.astype(int)
    scale, minimum = np.zeros((rows, blocks, 8)), np.zeros((rows, blocks, 8))
    scale[..., :4], minimum[..., :4] = p[..., :4] & 63, p[..., 4:8] & 63
    scale[..., 4:] = p[..., 8:] & 15 | p[..., :4] >> 6 << 4
    minimum[..., 4:] = p[..., 8:] >> 4 | p[..., 4:8] >> 6 << 4
    values = np.zeros((rows, blocks, 8, 32))
    values[:, :, 0::2], values[:, :, 1::2] = quants & 15, quants >> 4
    d64 = d.astype(np.float64)
    values = values * (d64[..., :1] * scale)[..., None] - (d64[..., 1:] * minimum)[..., None]
    return quants, np.concatenate([d.view(np.uint8), packed], 2), values


def q6_k(numbers, rows, cols):
    """Blocks of 256: for each half 64 bytes of low nibbles and 32 of pairs of high bits; 16 signed scales, and d."""
    blocks = cols // 256
    low, high = bytes_of(numbers, rows, blocks, 2, 2, 32), bytes_of(numbers, rows, blocks, 2, 32)
    scale = numbers.integers(-128, 128, (rows, blocks, 16)).astype(np.int8)
    d = (numbers.random((rows, blocks, 1)) * 0.002 + 0.0005).astype(np.float16)
    values = np.zeros((rows, blocks, 2, 4, 32))
    for quarter in range(4):
        nibble = low[:, :, :, quarter % 2] >> quarter // 2 * 4 & 15
        values[:, :, :, quarter] = nibble + ((high >> 2 * quarter & 3) << 4) - 32.0
    values = values.reshape(rows, blocks, 16, 16) * (scale * d.astype(np.float64))[..., None]
    quants = np.concatenate([low.reshape(rows, blocks, 128), high.reshape(rows, blocks, 64)], 2)
    unused = np.full((rows, blocks, 2), 0xFF, np.uint8)
    return quants, np.concatenate([scale.view(np.uint8), d.view(np.uint8), unused], 2), values


MAKERS = {"q8_0": q8_0, "q4_0": q4_0, "q4_k": q4_k, "q6_k": q6_k}


def matrix(numbers, name, rows, cols):
    """Numbers and scales as a card holds them, and the weights in double precision."""
    quants, scales, values = MAKERS[name](numbers, rows, cols)
    return quants, scales, values.reshape(rows, cols)


def quantized(x):
    """Activations (m, cols) in 8-bit blocks of 32: numbers, pairs of scale and scale * sum, and their values."""
    blocks = x.reshape(x.shape[0], -1, 32)
    scale = np.abs(blocks).max(2) / 127
    q = np.rint(blocks / np.where(scale == 0, 1, scale)[..., None]).astype(np.int8)
    scale = scale.astype(np.float32)
    pairs = np.stack([scale, scale * q.sum(2, dtype=np.int32).astype(np.float32)], 2)
    return q, pairs, (q * scale.astype(np.float64)[..., None]).reshape(x.shape)
