// The gated unit of the feed-forward network: out = silu(gate) * up, silu(x) = x / (1 + e^-x).
//
//   gate, up (rows, cols) T with strides (they may be halves of one buffer), out (rows, cols) T
//
// Launch: grid (rows, ceil(cols / 2048) or fewer), 256 threads.
// Bytes: rows * cols * 6.
// targets: 70
#include "common.cuh"

DEVICE float silu(float x) { return x / (1.0f + __expf(-x)); }

template <typename T>
DEVICE void silu_mul(const uint16_t *gate, const uint16_t *up, uint32_t gate_stride, uint32_t up_stride, uint16_t *out,
                     uint32_t cols) {
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
    for (uint32_t chunk = blockIdx.y * blockDim.x + threadIdx.x; chunk < chunks; chunk += gridDim.y * blockDim.x) {
        const uint32_t c = 8 * chunk;
        float v[8], u[8];
        unpack<T>(load16(gate + c), v);
        unpack<T>(load16(up + c), u);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = silu(v[i]) * u[i];
        }
        store16(out + row * cols + c, pack<T>(v));
    }
}

#define SILU_MUL(suffix, T)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        silu_mul_##suffix(const uint16_t *gate, const uint16_t *up, uint32_t gate_stride, uint32_t up_stride,          \
                          uint16_t *out, uint32_t cols) {                                                              \
        silu_mul<T>(gate, up, gate_stride, up_stride, out, cols);                                                      \
    }                                                                                                                  \
    KERNEL(silu_mul_##suffix)
SILU_MUL(f16, F16)
SILU_MUL(bf16, BF16)
