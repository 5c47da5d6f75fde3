// Activations as 8-bit blocks of 32, for products with block-quantized weights.
//
//   q (rows, cols) int8, scale_and_sum (rows, cols / 32): (d, d * sum of q) where d = max |x| / 127
//
// The sum serves weights whose values have an offset. Columns are a multiple of 32.
// Launch: grid (rows, ceil(cols / 2048) or fewer), 256 threads.
// Bytes: rows * cols * (2 + 1 + 8 / 32).
// targets: 70
#include "common.cuh"

template <typename T>
DEVICE void quantize_q8(const uint16_t *x, int8_t *q, float2 *scale_and_sum, uint32_t cols) {
    const uint64_t row = static_cast<uint64_t>(blockIdx.x) * cols;
    const uint32_t chunks = cols / 8;
    for (uint32_t base = blockIdx.y * blockDim.x; base < chunks; base += gridDim.y * blockDim.x) {
        const uint32_t chunk = base + threadIdx.x;
        const uint64_t at = row + 8 * chunk;
        const bool here = chunk < chunks;
        float v[8] = {};
        if (here) {
            unpack<T>(load16(x + at), v);
        }
        store_q8(v, here, q + at, scale_and_sum + at / 32);
    }
}

#define QUANTIZE(suffix, T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        quantize_q8_##suffix(const uint16_t *x, int8_t *q, float2 *scale_and_sum, uint32_t cols) {                     \
        quantize_q8<T>(x, q, scale_and_sum, cols);                                                                     \
    }                                                                                                                  \
    KERNEL(quantize_q8_##suffix)
QUANTIZE(f16, F16)
QUANTIZE(bf16, BF16)
