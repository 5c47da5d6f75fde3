// The gated unit of the feed-forward network: out = silu(gate) * up, silu(x) = x / (1 + e^-x).
//
//   gate, up (rows, cols) T with strides (they may be halves of one buffer), out (rows, cols) T
//
// Launch: grid (rows, ceil(cols / 2048) or fewer), 256 threads.
// Bytes: rows * cols * 6.
//
// The _q8 forms write 8-bit blocks as quantize.cu does, which saves a launch; their columns are a multiple of 32 and
// their strides of 8.
// targets: 70
#include "common.cuh"

DEVICE float silu(float x) { return x / (1.0f + __expf(-x)); }

template <typename T>
DEVICE void silu_mul(const uint16_t *gate, const uint16_t *up, uint32_t gate_stride, uint32_t up_stride, uint16_t *out,
                     int8_t *q, float2 *scale_and_sum, uint32_t cols) {
    const uint64_t row = blockIdx.x;
    gate += row * gate_stride;
    up += row * up_stride;
    if ((cols | gate_stride | up_stride) % 8 != 0) {
        for (uint32_t c = blockIdx.y * blockDim.x + threadIdx.x; c < cols; c += gridDim.y * blockDim.x) {
            out[row * cols + c] = T::store(silu(T::load(gate[c])) * T::load(up[c]));
        }
        return;
    }
    const uint32_t chunks = cols / 8;
    for (uint32_t base = blockIdx.y * blockDim.x; base < chunks; base += gridDim.y * blockDim.x) {
        const uint32_t chunk = base + threadIdx.x, c = 8 * chunk;
        const bool here = chunk < chunks;
        float v[8] = {};
        if (here) {
            float u[8];
            unpack<T>(load16(gate + c), v);
            unpack<T>(load16(up + c), u);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                v[i] = silu(v[i]) * u[i];
            }
        }
        const uint64_t at = row * cols + c;
        if (q != nullptr) {
            store_q8(v, here, q + at, scale_and_sum + at / 32);
        } else if (here) {
            store16(out + at, pack<T>(v));
        }
    }
}

#define SILU_MUL(suffix, T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        silu_mul_##suffix(const uint16_t *gate, const uint16_t *up, uint32_t gate_stride, uint32_t up_stride,          \
                          uint16_t *out, uint32_t cols) {                                                              \
        silu_mul<T>(gate, up, gate_stride, up_stride, out, nullptr, nullptr, cols);                                    \
    }                                                                                                                  \
    KERNEL(silu_mul_##suffix)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        silu_mul_q8_##suffix(const uint16_t *gate, const uint16_t *up, uint32_t gate_stride, uint32_t up_stride,       \
                             int8_t *q, float2 *scale_and_sum, uint32_t cols) {                                        \
        silu_mul<T>(gate, up, gate_stride, up_stride, nullptr, q, scale_and_sum, cols);                                \
    }                                                                                                                  \
    KERNEL(silu_mul_q8_##suffix)
SILU_MUL(f16, F16)
SILU_MUL(bf16, BF16)
