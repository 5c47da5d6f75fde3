// What encoders need beside products and attention: layer norms, GELU, and the rows before the first block.
//
//   add_layer_norm_T  residual (rows, cols) f32 += delta (rows, cols) T, where there is one;
//                     out (rows, cols) T = (residual - mean) / sqrt(variance + eps) * weight (cols) f32 + bias (cols) f32;
//                     where `keeps` is set, the residual becomes that too, in f32: norms behind a block, not before it
//   gelu_T            x (count) T = x * (1 + erf(x / sqrt 2)) / 2, in place
//   add_positions     residual (rows, cols) f32 += positions (seq, cols) f32 at row % seq
//   set_patches_T     residual (sequences, seq, cols) f32 = positions (seq, cols) f32, plus class_token (cols) f32 in the
//                     first row of each sequence, and patches (sequences, seq - 1, cols) T in the others
//
// Launch: a block of whole warps per row, cols / 8 threads and at most 1024 for the norm, 256 for the others; of GELU
// 256 threads for each 2048 numbers, of which there is a multiple of 8. Columns are a multiple of 8.
// Bytes: of the norm as add_rms_norm in norm.cu and 4 * cols more; of GELU 4 * count.
// targets: 70
#include "common.cuh"

DEVICE void load_floats(const float *from, float v[8]) {
    const float4 low = reinterpret_cast<const float4 *>(from)[0], high = reinterpret_cast<const float4 *>(from)[1];
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
}
DEVICE void store_floats(float *to, const float v[8]) {
    reinterpret_cast<float4 *>(to)[0] = make_float4(v[0], v[1], v[2], v[3]);
    reinterpret_cast<float4 *>(to)[1] = make_float4(v[4], v[5], v[6], v[7]);
}

// The deviations are summed in a pass of their own: a difference of squares would lose what a large mean leaves.
template <typename T>
DEVICE void add_layer_norm(float *residual, const uint16_t *delta, const float *weight, const float *bias,
                           uint16_t *out, uint32_t cols, float eps, uint32_t keeps) {
    const uint64_t row = blockIdx.x;
    residual += row * cols;
    const float count = static_cast<float>(cols);
    float sum = 0.0f;
    for (uint32_t c = 8 * threadIdx.x; c < cols; c += 8 * blockDim.x) {
        float v[8];
        load_floats(residual + c, v);
        if (delta != nullptr) {
            float d[8];
            unpack<T>(load16(delta + row * cols + c), d);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                v[i] += d[i];
            }
            store_floats(residual + c, v);
        }
#pragma unroll
        for (int i = 0; i < 8; i++) {
            sum += v[i];
        }
    }
    const float mean = block_sum(sum) / count;
    __syncthreads();
    float squares = 0.0f;
    for (uint32_t c = 8 * threadIdx.x; c < cols; c += 8 * blockDim.x) {
        float v[8];
        load_floats(residual + c, v);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            squares += (v[i] - mean) * (v[i] - mean);
        }
    }
    const float factor = rsqrtf(block_sum(squares) / count + eps);
    for (uint32_t c = 8 * threadIdx.x; c < cols; c += 8 * blockDim.x) {
        float v[8], w[8], b[8];
        load_floats(residual + c, v);
        load_floats(weight + c, w);
        load_floats(bias + c, b);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = (v[i] - mean) * factor * w[i] + b[i];
        }
        if (keeps) {
            store_floats(residual + c, v);
        }
        store16(out + row * cols + c, pack<T>(v));
    }
}

template <typename T> DEVICE void gelu(uint16_t *x, uint64_t count) {
    const uint64_t at = (static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
    if (at < count) {
        float v[8];
        unpack<T>(load16(x + at), v);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = 0.5f * v[i] * (1.0f + erff(v[i] * 0.70710678f));
        }
        store16(x + at, pack<T>(v));
    }
}

extern "C" __global__ void __launch_bounds__(256)
    add_positions(float *residual, const float *positions, uint32_t seq, uint32_t cols) {
    residual += static_cast<uint64_t>(blockIdx.x) * cols;
    positions += static_cast<uint64_t>(blockIdx.x % seq) * cols;
    for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
        residual[c] += positions[c];
    }
}
KERNEL(add_positions)

template <typename T>
DEVICE void set_patches(float *residual, const uint16_t *patches, const float *class_token, const float *positions,
                        uint32_t seq, uint32_t cols) {
    const uint32_t sequence = blockIdx.x / seq, token = blockIdx.x % seq;
    residual += static_cast<uint64_t>(blockIdx.x) * cols;
    positions += static_cast<uint64_t>(token) * cols;
    // Of the class token there is no patch: the pointer is not read.
    patches += (static_cast<uint64_t>(sequence) * (seq - 1) + token - 1) * cols;
    for (uint32_t c = threadIdx.x; c < cols; c += blockDim.x) {
        residual[c] = (token == 0 ? class_token[c] : T::load(patches[c])) + positions[c];
    }
}

#define ENCODER(suffix, T)                                                                                             \
    extern "C" __global__ void __launch_bounds__(1024)                                                                 \
        add_layer_norm_##suffix(float *residual, const uint16_t *delta, const float *weight, const float *bias,        \
                                uint16_t *out, uint32_t cols, float eps, uint32_t keeps) {                             \
        add_layer_norm<T>(residual, delta, weight, bias, out, cols, eps, keeps);                                       \
    }                                                                                                                  \
    KERNEL(add_layer_norm_##suffix)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) gelu_##suffix(uint16_t *x, uint64_t count) {                     \
        gelu<T>(x, count);                                                                                             \
    }                                                                                                                  \
    KERNEL(gelu_##suffix)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        set_patches_##suffix(float *residual, const uint16_t *patches, const float *class_token,                       \
                             const float *positions, uint32_t seq, uint32_t cols) {                                    \
        set_patches<T>(residual, patches, class_token, positions, seq, cols);                                          \
    }                                                                                                                  \
    KERNEL(set_patches_##suffix)
ENCODER(f16, F16)
ENCODER(bf16, BF16)
