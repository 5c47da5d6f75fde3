// Adds a block's output to the residual stream and takes the RMS norm of the sum.
//
//   residual (rows, cols) f32 += delta (rows, cols) T, where there is one
//   out      (rows, cols) T    = residual / sqrt(mean(residual^2) + eps) * weight (cols) f32
//
// Launch: a block of whole warps per row; cols / 8 threads, at most 1024, keep the row in registers.
// Bytes: rows * cols * (8 + 2 + 2) + 4 * cols; rows * cols * (4 + 2) + 4 * cols without delta.
// targets: 70
#include "common.cuh"

// The residual at 8 columns, the delta added and written back.
template <typename T>
DEVICE void take(float *residual, const uint16_t *delta, uint32_t at, float v[8]) {
    float4 *from = reinterpret_cast<float4 *>(residual + at);
    const float4 low = from[0], high = from[1];
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
    if (delta != nullptr) {
        float d[8];
        unpack<T>(load16(delta + at), d);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] += d[i];
        }
        from[0] = make_float4(v[0], v[1], v[2], v[3]);
        from[1] = make_float4(v[4], v[5], v[6], v[7]);
    }
}

DEVICE float squares(const float v[8]) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        sum += v[i] * v[i];
    }
    return sum;
}

template <typename T>
DEVICE void add_rms_norm(float *residual, const uint16_t *delta, const float *weight, uint16_t *out, uint32_t cols,
                         float eps) {
    const uint64_t row = blockIdx.x;
    residual += row * cols;
    delta = delta == nullptr ? nullptr : delta + row * cols;
    float sum = 0.0f;
    if (cols % 8 != 0) {
        for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
            float v = residual[c];
            if (delta != nullptr) {
                v += T::load(delta[c]);
                residual[c] = v;
            }
            sum += v * v;
        }
        const float factor = rsqrtf(block_sum(sum) / static_cast<float>(cols) + eps);
        for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
            out[row * cols + c] = T::store(residual[c] * factor * weight[c]);
        }
        return;
    }
    const uint32_t chunks = cols / 8;
    // The first chunk stays in registers, which is the whole row up to 8192 columns.
    float first[8] = {};
    if (threadIdx.x < chunks) {
        take<T>(residual, delta, 8 * threadIdx.x, first);
        sum = squares(first);
    }
    for (uint32_t chunk = threadIdx.x + blockDim.x; chunk < chunks; chunk += blockDim.x) {
        float v[8];
        take<T>(residual, delta, 8 * chunk, v);
        sum += squares(v);
    }
    const float factor = rsqrtf(block_sum(sum) / static_cast<float>(cols) + eps);
    for (uint32_t chunk = threadIdx.x; chunk < chunks; chunk += blockDim.x) {
        const uint32_t c = 8 * chunk;
        float v[8];
        if (chunk == threadIdx.x) {
#pragma unroll
            for (int i = 0; i < 8; i++) {
                v[i] = first[i];
            }
        } else {
            take<T>(residual, nullptr, c, v);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] *= factor * weight[c + i];
        }
        store16(out + row * cols + c, pack<T>(v));
    }
}

#define ADD_RMS_NORM(suffix, T)                                                                                        \
    extern "C" __global__ void __launch_bounds__(1024)                                                                 \
        add_rms_norm_##suffix(float *residual, const uint16_t *delta, const float *weight, uint16_t *out,              \
                              uint32_t cols, float eps) {                                                              \
        add_rms_norm<T>(residual, delta, weight, out, cols, eps);                                                      \
    }                                                                                                                  \
    KERNEL(add_rms_norm_##suffix)
ADD_RMS_NORM(f16, F16)
ADD_RMS_NORM(bf16, BF16)
