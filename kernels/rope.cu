// Turns queries and keys by their positions, norms each head first where the model does, and files keys and values in
// the cache.
//
//   q (rows, heads * head_dim), k and v (rows, kv_heads * head_dim) T with strides; they may be slices of one buffer
//   cos, sin (positions, head_dim / 2) f32; keys, values (batch, kv_heads, capacity, head_dim) T
//
// Row r is token r % seq of sequence s = r / seq. places (sequences) says of each its row of the cache and the positions
// that this holds already: x and y. The token is at position y + r % seq. Pairs are (i, i + head_dim / 2). q stays in
// place. Without cos nothing is turned: keys and values are filed, and that is all. head_dim and the strides are
// multiples of 8.
// Launch: grid (batch * seq, ceil((heads + kv_heads) / 4)), 128 threads: a warp per head.
// Bytes: rows * head_dim * 2 * (2 * heads + 4 * kv_heads) and the tables.
// targets: 70
#include "common.cuh"

template <typename T>
DEVICE void rope_cache(uint16_t *q, const uint16_t *k, const uint16_t *v, uint32_t q_stride, uint32_t k_stride,
                       uint32_t v_stride, const float *q_norm, const float *k_norm, float eps, const float *cos,
                       const float *sin, const uint2 *places, uint32_t seq, uint32_t heads, uint32_t kv_heads,
                       uint32_t head_dim, uint32_t capacity, uint16_t *keys, uint16_t *values) {
    const uint32_t lane = threadIdx.x % 32, head = blockIdx.y * (blockDim.x / 32) + threadIdx.x / 32;
    if (head >= heads + kv_heads) {
        return;
    }
    const uint64_t row = blockIdx.x;
    const uint2 place = places[row / seq];
    const uint32_t position = place.y + static_cast<uint32_t>(row % seq), half = head_dim / 2;
    if (position >= capacity) {
        return; // a broken count must not write past the cache
    }
    const bool is_query = head < heads;
    const uint32_t kv_head = head - heads;
    const uint16_t *from = is_query ? q + row * q_stride + head * head_dim : k + row * k_stride + kv_head * head_dim;
    const uint64_t slot = ((static_cast<uint64_t>(place.x) * kv_heads + kv_head) * capacity + position) * head_dim;
    uint16_t *to = is_query ? q + row * q_stride + head * head_dim : keys + slot;
    const float *norm = is_query ? q_norm : k_norm;
    const bool turns = cos != nullptr;
    if (turns) {
        cos += static_cast<uint64_t>(position) * half;
        sin += static_cast<uint64_t>(position) * half;
    }

    float factor = 1.0f;
    if (norm != nullptr) {
        float sum = 0.0f;
        for (uint32_t i = 2 * lane; i < head_dim; i += 64) {
            const uint32_t pair = *reinterpret_cast<const uint32_t *>(from + i);
            const float a = T::load(static_cast<uint16_t>(pair & 0xffffu));
            const float b = T::load(static_cast<uint16_t>(pair >> 16));
            sum += a * a + b * b;
        }
        factor = rsqrtf(warp_sum(sum) / static_cast<float>(head_dim) + eps);
    }
    for (uint32_t i = 2 * lane; i < half; i += 64) {
        const uint32_t first = *reinterpret_cast<const uint32_t *>(from + i);
        const uint32_t second = *reinterpret_cast<const uint32_t *>(from + half + i);
        float x[2] = {T::load(static_cast<uint16_t>(first & 0xffffu)), T::load(static_cast<uint16_t>(first >> 16))};
        float y[2] = {T::load(static_cast<uint16_t>(second & 0xffffu)), T::load(static_cast<uint16_t>(second >> 16))};
        float turned_x[2], turned_y[2];
#pragma unroll
        for (int j = 0; j < 2; j++) {
            if (norm != nullptr) {
                x[j] *= factor * norm[i + j];
                y[j] *= factor * norm[half + i + j];
            }
            const float c = turns ? cos[i + j] : 1.0f, s = turns ? sin[i + j] : 0.0f;
            turned_x[j] = x[j] * c - y[j] * s;
            turned_y[j] = x[j] * s + y[j] * c;
        }
        *reinterpret_cast<uint32_t *>(to + i) = pack_two<T>(turned_x[0], turned_x[1]);
        *reinterpret_cast<uint32_t *>(to + half + i) = pack_two<T>(turned_y[0], turned_y[1]);
    }
    if (!is_query) {
        for (uint32_t i = 8 * lane; i < head_dim; i += 256) {
            store16(values + slot + i, load16(v + row * v_stride + kv_head * head_dim + i));
        }
    }
}

#define ROPE(suffix, T)                                                                                                \
    extern "C" __global__ void __launch_bounds__(128)                                                                  \
        rope_cache_##suffix(uint16_t *q, const uint16_t *k, const uint16_t *v, uint32_t q_stride, uint32_t k_stride,   \
                            uint32_t v_stride, const float *q_norm, const float *k_norm, float eps, const float *cos,  \
                            const float *sin, const uint2 *places, uint32_t seq, uint32_t heads, uint32_t kv_heads,    \
                            uint32_t head_dim, uint32_t capacity, uint16_t *keys, uint16_t *values) {                  \
        rope_cache<T>(q, k, v, q_stride, k_stride, v_stride, q_norm, k_norm, eps, cos, sin, places, seq, heads,        \
                      kv_heads, head_dim, capacity, keys, values);                                                     \
    }                                                                                                                  \
    KERNEL(rope_cache_##suffix)
ROPE(f16, F16)
ROPE(bf16, BF16)
