// Attention over the key-value cache, grouped heads and sliding windows included.
//
//   q (rows, heads * head_dim) T with a stride; keys, values (batch, kv_heads, capacity, head_dim) T
//   out (rows, heads * head_dim) T; row r is token r % seq of sequence s = r / seq
//   places (sequences): of each its row of the cache, x, and the positions that this held before these, y; the token is
//   at position y + r % seq. The cache holds the new positions already; position p sees keys (p - window, p], or [0, p]
//   where window is 0. Where both_ways is set, every position sees every key of its sequence
//
// Four kernels:
//   attention_decode_T     one token per sequence, any head_dim that is a multiple of 8 up to 256. The keys are shared
//                          out over `splits` blocks, each of which leaves (batch, heads, splits, head_dim + 2) f32: its
//                          sum of weighted values, its maximal score (as a power of 2) and its sum of weights.
//                          grid (batch * kv_heads, splits), 128 threads
//   attention_combine_T    joins the splits, at most 256: grid batch * heads, 128 threads
//   attention_prefillD_T   many tokens, head_dim D, tensor cores: 64 query rows per block.
//                          grid (ceil(seq / 64), heads, batch), 128 threads, 512 * (D + 8) bytes of dynamic shared memory
//   attention_any_T        the same for any head_dim up to 256 and any device: a warp per query row and head.
//                          grid (ceil(seq / 4), heads, batch), 128 threads
//
// Bytes of decode: batch * kv_heads * positions * head_dim * 4, read once for all heads of a group of up to 4; larger
// groups pass over them again, out of the caches.
// targets: 70 80
#include "common.cuh"

#define LOG2_E 1.4426950408889634f

// The keys that position `p` sees begin here.
DEVICE uint32_t first_key(uint32_t p, uint32_t window) { return window == 0 || p < window ? 0 : p - window + 1; }

namespace {

// Weights and values gathered so far, in units of 2^maximum.
template <int N> struct Running {
    float maximum, weight, value[N];
    DEVICE_MEMBER void clear() {
        maximum = minus_infinity();
        weight = 0.0f;
#pragma unroll
        for (int i = 0; i < N; i++) {
            value[i] = 0.0f;
        }
    }
    // Moves to a new maximum; nothing gathered yet stays nothing.
    DEVICE_MEMBER void raise(float to) {
        const float factor = maximum == to ? 1.0f : exp2_fast(maximum - to);
        maximum = to;
        weight *= factor;
#pragma unroll
        for (int i = 0; i < N; i++) {
            value[i] *= factor;
        }
    }
};

} // namespace

#define MOST_SPLITS 256
#define HEADS_AT_ONCE 4
#define KEYS_AT_ONCE 4

template <typename T>
DEVICE void decode(const uint16_t *q, uint32_t q_stride, const uint16_t *keys, const uint16_t *values,
                   const uint2 *places, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint32_t capacity,
                   uint32_t window, float scale, uint32_t splits, float *partial) {
    __shared__ float of_warp[4][HEADS_AT_ONCE][256 + 2];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t batch = blockIdx.x / kv_heads, kv_head = blockIdx.x % kv_heads, group = heads / kv_heads;
    const uint2 place = places[batch];
    const uint32_t length = min(place.y + 1, capacity), start = first_key(length - 1, window);
    const uint32_t share = (length - start + splits - 1) / splits;
    const uint32_t begin = min(start + blockIdx.y * share, length), end = min(begin + share, length);
    const uint64_t cache = (static_cast<uint64_t>(place.x) * kv_heads + kv_head) * capacity * head_dim;
    keys += cache;
    values += cache;

    // A key is read by as many lanes as it has 16-byte pieces, rounded up to a power of two.
    uint32_t lanes_per_key = 1;
    while (lanes_per_key * 8 < head_dim) {
        lanes_per_key *= 2;
    }
    const uint32_t piece = lane % lanes_per_key, keys_per_warp = 32 / lanes_per_key, slot = lane / lanes_per_key;
    const bool has_piece = piece * 8 < head_dim;
    const uint32_t step = 4 * keys_per_warp * KEYS_AT_ONCE;

    for (uint32_t base_head = 0; base_head < group; base_head += HEADS_AT_ONCE) {
        const uint32_t now = min(group - base_head, static_cast<uint32_t>(HEADS_AT_ONCE));
        const uint32_t first_head = kv_head * group + base_head;
        float query[HEADS_AT_ONCE][8];
        Running<8> running[HEADS_AT_ONCE];
#pragma unroll
        for (int h = 0; h < HEADS_AT_ONCE; h++) {
            uint4 piece_of_q = make_uint4(0, 0, 0, 0);
            if (has_piece && h < now) {
                piece_of_q = load16(q + static_cast<uint64_t>(batch) * q_stride + (first_head + h) * head_dim + 8 * piece);
            }
            unpack<T>(piece_of_q, query[h]);
#pragma unroll
            for (int i = 0; i < 8; i++) {
                query[h][i] *= scale * LOG2_E;
            }
            running[h].clear();
        }
        for (uint32_t base = begin + warp * keys_per_warp * KEYS_AT_ONCE; base < end; base += step) {
            uint4 k[KEYS_AT_ONCE], v[KEYS_AT_ONCE];
#pragma unroll
            for (int u = 0; u < KEYS_AT_ONCE; u++) {
                const uint32_t key = base + u * keys_per_warp + slot;
                const uint64_t at = static_cast<uint64_t>(key) * head_dim + 8 * piece;
                k[u] = v[u] = make_uint4(0, 0, 0, 0);
                if (has_piece && key < end) {
                    k[u] = load16(keys + at);
                    v[u] = load16(values + at);
                }
            }
            float score[KEYS_AT_ONCE][HEADS_AT_ONCE];
#pragma unroll
            for (int u = 0; u < KEYS_AT_ONCE; u++) {
                float of_key[8];
                unpack<T>(k[u], of_key);
#pragma unroll
                for (int h = 0; h < HEADS_AT_ONCE; h++) {
                    float sum = 0.0f;
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        sum += query[h][i] * of_key[i];
                    }
                    score[u][h] = sum;
                }
            }
            for (uint32_t lanes = lanes_per_key / 2; lanes > 0; lanes /= 2) {
#pragma unroll
                for (int u = 0; u < KEYS_AT_ONCE; u++) {
#pragma unroll
                    for (int h = 0; h < HEADS_AT_ONCE; h++) {
                        score[u][h] += __shfl_xor_sync(0xffffffffu, score[u][h], lanes);
                    }
                }
            }
#pragma unroll
            for (int h = 0; h < HEADS_AT_ONCE; h++) {
                float maximum = running[h].maximum;
#pragma unroll
                for (int u = 0; u < KEYS_AT_ONCE; u++) {
                    if (base + u * keys_per_warp + slot >= end) {
                        score[u][h] = minus_infinity();
                    }
                    maximum = fmaxf(maximum, score[u][h]);
                }
                // A slot whose first key lies behind the end has nothing to gather, ever.
                if (base + slot < end) {
                    running[h].raise(maximum);
#pragma unroll
                    for (int u = 0; u < KEYS_AT_ONCE; u++) {
                        score[u][h] = exp2_fast(score[u][h] - maximum);
                        running[h].weight += score[u][h];
                    }
                } else {
#pragma unroll
                    for (int u = 0; u < KEYS_AT_ONCE; u++) {
                        score[u][h] = 0.0f;
                    }
                }
            }
#pragma unroll
            for (int u = 0; u < KEYS_AT_ONCE; u++) {
                float of_value[8];
                unpack<T>(v[u], of_value);
#pragma unroll
                for (int h = 0; h < HEADS_AT_ONCE; h++) {
#pragma unroll
                    for (int i = 0; i < 8; i++) {
                        running[h].value[i] += score[u][h] * of_value[i];
                    }
                }
            }
        }
        // The slots of the warp, then the warps of the block.
#pragma unroll
        for (int h = 0; h < HEADS_AT_ONCE; h++) {
            for (uint32_t lanes = lanes_per_key; lanes < 32; lanes *= 2) {
                const float maximum = __shfl_xor_sync(0xffffffffu, running[h].maximum, lanes);
                running[h].raise(fmaxf(running[h].maximum, maximum));
                running[h].weight += __shfl_xor_sync(0xffffffffu, running[h].weight, lanes);
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    running[h].value[i] += __shfl_xor_sync(0xffffffffu, running[h].value[i], lanes);
                }
            }
            if (slot == 0 && has_piece) {
#pragma unroll
                for (int i = 0; i < 8; i++) {
                    of_warp[warp][h][8 * piece + i] = running[h].value[i];
                }
            }
            if (lane == 0) {
                of_warp[warp][h][head_dim] = running[h].maximum;
                of_warp[warp][h][head_dim + 1] = running[h].weight;
            }
        }
        __syncthreads();
        for (uint32_t h = 0; h < now; h++) {
            float maximum = minus_infinity();
#pragma unroll
            for (int w = 0; w < 4; w++) {
                maximum = fmaxf(maximum, of_warp[w][h][head_dim]);
            }
            float factor[4];
#pragma unroll
            for (int w = 0; w < 4; w++) {
                const float own = of_warp[w][h][head_dim];
                factor[w] = own == maximum ? 1.0f : exp2_fast(own - maximum);
            }
            float *to = partial + ((static_cast<uint64_t>(batch) * heads + first_head + h) * splits + blockIdx.y) *
                                      (head_dim + 2);
            for (uint32_t i = threadIdx.x; i < head_dim + 2; i += 128) {
                float sum = 0.0f;
#pragma unroll
                for (int w = 0; w < 4; w++) {
                    sum += factor[w] * of_warp[w][h][i];
                }
                to[i] = i == head_dim ? maximum : sum;
            }
        }
        __syncthreads();
    }
}

// Every warp takes the maximum for itself; the factors of the splits go through shared memory, so that the sums below
// have nothing to wait for but their loads.
template <typename T>
DEVICE void combine(const float *partial, uint16_t *out, uint32_t head_dim, uint32_t splits) {
    __shared__ float factors[MOST_SPLITS];
    const uint32_t each = head_dim + 2, lane = threadIdx.x % 32;
    partial += static_cast<uint64_t>(blockIdx.x) * splits * each;
    float maximum = minus_infinity(), weight = 0.0f;
    for (uint32_t s = lane; s < splits; s += 32) {
        maximum = fmaxf(maximum, partial[s * each + head_dim]);
    }
    maximum = warp_max(maximum);
    for (uint32_t s = lane; s < splits; s += 32) {
        const float factor = exp2_fast(partial[s * each + head_dim] - maximum);
        weight += factor * partial[s * each + head_dim + 1];
        if (threadIdx.x < 32) {
            factors[s] = factor;
        }
    }
    const float inverse = 1.0f / warp_sum(weight);
    __syncthreads();
    const uint64_t to = static_cast<uint64_t>(blockIdx.x) * head_dim;
    for (uint32_t i = threadIdx.x; i < head_dim; i += blockDim.x) {
        float sum = 0.0f;
#pragma unroll 8
        for (uint32_t s = 0; s < splits; s++) {
            sum += factors[s] * partial[s * each + i];
        }
        out[to + i] = T::store(sum * inverse);
    }
}

#if __CUDA_ARCH__ >= 800
// A tile of 64 keys or values; those behind `end` become zeros, because a stray NaN would survive a weight of zero.
template <int D>
DEVICE void load_tile(uint16_t *tile, const uint16_t *from, uint32_t first, uint32_t end) {
    for (uint32_t i = threadIdx.x; i < 64 * (D / 8); i += 128) {
        const uint32_t row = i / (D / 8), col = i % (D / 8) * 8;
        uint16_t *to = tile + row * (D + 8) + col;
        if (first + row < end) {
            copy_async(to, from + static_cast<uint64_t>(first + row) * D + col);
        } else {
            store16(to, make_uint4(0, 0, 0, 0));
        }
    }
}

// Each warp has 16 query rows; scores and outputs stay in its registers, and the scores become the left operand of the
// second product without leaving them. Rows of the tiles are 16 bytes longer than needed, so that 8 of them begin in
// different banks.
template <typename T, int D>
DEVICE void prefill(const uint16_t *q, uint32_t q_stride, const uint16_t *keys, const uint16_t *values,
                    const uint2 *places, uint32_t seq, uint32_t heads, uint32_t kv_heads, uint32_t capacity,
                    uint32_t window, uint32_t both_ways, float scale, uint16_t *out) {
    constexpr int TILE = 64 * (D + 8);
    DYNAMIC_SHARED(uint16_t, shared);
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, quad = lane / 4, in_quad = lane % 4;
    // The blocks with most keys begin first.
    const uint32_t first_row = (gridDim.x - 1 - blockIdx.x) * 64, head = blockIdx.y, batch = blockIdx.z;
    const uint2 place = places[batch];
    const uint32_t past = place.y;
    const uint64_t cache = (static_cast<uint64_t>(place.x) * kv_heads + head / (heads / kv_heads)) * capacity * D;
    keys += cache;
    values += cache;
    const uint32_t end = min(past + (both_ways ? seq : min(first_row + 64, seq)), capacity);
    const uint32_t begin = first_key(past + first_row, window);
    const uint32_t row[2] = {first_row + 16 * warp + quad, first_row + 16 * warp + quad + 8};

    uint32_t query[D / 16][4];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const uint16_t *from =
            q + (static_cast<uint64_t>(batch) * seq + min(row[r], seq - 1)) * q_stride + head * D + 2 * in_quad;
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            query[k][r] = *reinterpret_cast<const uint32_t *>(from + 16 * k);
            query[k][r + 2] = *reinterpret_cast<const uint32_t *>(from + 16 * k + 8);
        }
    }
    float output[D / 8][4] = {};
    float maximum[2] = {minus_infinity(), minus_infinity()}, weight[2] = {};
    scale *= LOG2_E;

    uint16_t *key_tile = shared, *value_tile = shared + 2 * TILE;
    load_tile<D>(key_tile, keys, begin, end);
    load_tile<D>(value_tile, values, begin, end);
    copy_async_commit();
    for (uint32_t first = begin, turn = 0; first < end; first += 64, turn ^= 1) {
        if (first + 64 < end) {
            load_tile<D>(key_tile + (turn ^ 1) * TILE, keys, first + 64, end);
            load_tile<D>(value_tile + (turn ^ 1) * TILE, values, first + 64, end);
        }
        copy_async_commit();
        copy_async_wait<1>();
        __syncthreads();
        const uint16_t *k_tile = key_tile + turn * TILE, *v_tile = value_tile + turn * TILE;

        float score[8][4] = {};
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
#pragma unroll
            for (int n = 0; n < 4; n++) {
                uint32_t b[4];
                load_matrices(b, k_tile + (16 * n + lane / 16 * 8 + lane % 8) * (D + 8) + 16 * k + lane / 8 % 2 * 8);
                Mma<T>::add(score[2 * n], query[k], b);
                Mma<T>::add(score[2 * n + 1], query[k], b + 2);
            }
        }
        // Only tiles at the diagonal, at the window's edge or at the end hide anything.
        const bool hides = both_ways ? first + 64 > end
                                     : first + 63 > past + first_row ||
                                           first < first_key(past + first_row + 63, window);
#pragma unroll
        for (int n = 0; n < 8; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                score[n][i] *= scale;
                if (hides) {
                    const uint32_t key = first + 8 * n + 2 * in_quad + i % 2, position = past + row[i / 2];
                    if (key > (both_ways ? end - 1 : position) || key < first_key(position, window)) {
                        score[n][i] = minus_infinity();
                    }
                }
            }
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            float highest = maximum[r];
#pragma unroll
            for (int n = 0; n < 8; n++) {
                highest = fmaxf(highest, fmaxf(score[n][2 * r], score[n][2 * r + 1]));
            }
            highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 1));
            highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, 2));
            // A row that has seen no key yet measures from zero: -inf - -inf is no number.
            const float from = highest == minus_infinity() ? 0.0f : highest;
            const float factor = exp2_fast(maximum[r] - from);
            maximum[r] = highest;
            float sum = 0.0f;
#pragma unroll
            for (int n = 0; n < 8; n++) {
#pragma unroll
                for (int i = 2 * r; i < 2 * r + 2; i++) {
                    score[n][i] = exp2_fast(score[n][i] - from);
                    sum += score[n][i];
                }
            }
            weight[r] = weight[r] * factor + sum;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                output[n][2 * r] *= factor;
                output[n][2 * r + 1] *= factor;
            }
        }
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const uint32_t a[4] = {pack_two<T>(score[2 * k][0], score[2 * k][1]),
                                   pack_two<T>(score[2 * k][2], score[2 * k][3]),
                                   pack_two<T>(score[2 * k + 1][0], score[2 * k + 1][1]),
                                   pack_two<T>(score[2 * k + 1][2], score[2 * k + 1][3])};
#pragma unroll
            for (int n = 0; n < D / 16; n++) {
                uint32_t b[4];
                load_matrices_transposed(
                    b, v_tile + (16 * k + lane / 8 % 2 * 8 + lane % 8) * (D + 8) + 16 * n + lane / 16 * 8);
                Mma<T>::add(output[2 * n], a, b);
                Mma<T>::add(output[2 * n + 1], a, b + 2);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int r = 0; r < 2; r++) {
        weight[r] += __shfl_xor_sync(0xffffffffu, weight[r], 1);
        weight[r] += __shfl_xor_sync(0xffffffffu, weight[r], 2);
        if (row[r] < seq) {
            const float inverse = 1.0f / weight[r];
            uint16_t *to =
                out + (static_cast<uint64_t>(batch) * seq + row[r]) * heads * D + head * D + 2 * in_quad;
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                *reinterpret_cast<uint32_t *>(to + 8 * n) =
                    pack_two<T>(output[n][2 * r] * inverse, output[n][2 * r + 1] * inverse);
            }
        }
    }
}
#endif

// Scores 32 keys at a time, one per lane; then each lane gathers its dimensions, 32 apart.
template <typename T>
DEVICE void any(const uint16_t *q, uint32_t q_stride, const uint16_t *keys, const uint16_t *values,
                const uint2 *places, uint32_t seq, uint32_t heads, uint32_t kv_heads, uint32_t head_dim,
                uint32_t capacity, uint32_t window, uint32_t both_ways, float scale, uint16_t *out) {
    __shared__ float queries[4][256];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t token = blockIdx.x * 4 + warp, head = blockIdx.y, batch = blockIdx.z;
    if (token >= seq) {
        return;
    }
    const uint64_t row = static_cast<uint64_t>(batch) * seq + token;
    const uint2 place = places[batch];
    const uint64_t cache =
        (static_cast<uint64_t>(place.x) * kv_heads + head / (heads / kv_heads)) * capacity * head_dim;
    keys += cache;
    values += cache;
    float *query = queries[warp];
    for (uint32_t i = lane; i < head_dim; i += 32) {
        query[i] = T::load(q[row * q_stride + head * head_dim + i]) * scale * LOG2_E;
    }
    __syncwarp();
    const uint32_t end = min(place.y + (both_ways ? seq : token + 1), capacity);
    Running<8> running;
    running.clear();
    for (uint32_t base = first_key(end - 1, window); base < end; base += 32) {
        float score = minus_infinity();
        if (base + lane < end) {
            const uint16_t *key = keys + static_cast<uint64_t>(base + lane) * head_dim;
            score = 0.0f;
            uint32_t i = 0;
            for (; head_dim % 8 == 0 && i < head_dim; i += 8) {
                float v[8];
                unpack<T>(load16(key + i), v);
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    score += query[i + j] * v[j];
                }
            }
            for (; i < head_dim; i++) {
                score += query[i] * T::load(key[i]);
            }
        }
        running.raise(fmaxf(running.maximum, warp_max(score)));
        score = exp2_fast(score - running.maximum);
        running.weight += warp_sum(score);
        for (uint32_t key = 0; key < min(32u, end - base); key++) {
            const float weight = __shfl_sync(0xffffffffu, score, key);
            const uint16_t *value = values + static_cast<uint64_t>(base + key) * head_dim;
#pragma unroll
            for (int i = 0; i < 8; i++) {
                if (lane + 32 * i < head_dim) {
                    running.value[i] += weight * T::load(value[lane + 32 * i]);
                }
            }
        }
    }
    for (uint32_t i = 0; i < 8; i++) {
        if (lane + 32 * i < head_dim) {
            out[row * heads * head_dim + head * head_dim + lane + 32 * i] =
                T::store(running.value[i] / running.weight);
        }
    }
}

#define DECODE(suffix, T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(128) attention_decode_##suffix(                                       \
        const uint16_t *q, uint32_t q_stride, const uint16_t *keys, const uint16_t *values, const uint2 *places,       \
        uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint32_t capacity, uint32_t window, float scale,         \
        uint32_t splits, float *partial) {                                                                             \
        decode<T>(q, q_stride, keys, values, places, heads, kv_heads, head_dim, capacity, window, scale, splits,       \
                  partial);                                                                                            \
    }                                                                                                                  \
    KERNEL(attention_decode_##suffix)                                                                                  \
    extern "C" __global__ void __launch_bounds__(128) attention_combine_##suffix(                                      \
        const float *partial, uint16_t *out, uint32_t heads, uint32_t head_dim, uint32_t splits) {                     \
        combine<T>(partial, out, head_dim, splits);                                                                    \
    }                                                                                                                  \
    KERNEL(attention_combine_##suffix)                                                                                 \
    extern "C" __global__ void __launch_bounds__(128) attention_any_##suffix(                                          \
        const uint16_t *q, uint32_t q_stride, const uint16_t *keys, const uint16_t *values, const uint2 *places,       \
        uint32_t seq, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint32_t capacity, uint32_t window,        \
        uint32_t both_ways, float scale, uint16_t *out) {                                                              \
        any<T>(q, q_stride, keys, values, places, seq, heads, kv_heads, head_dim, capacity, window, both_ways, scale,  \
               out);                                                                                                   \
    }                                                                                                                  \
    KERNEL(attention_any_##suffix)
DECODE(f16, F16)
DECODE(bf16, BF16)

#if __CUDA_ARCH__ >= 800
#define PREFILL(D, suffix, T)                                                                                          \
    extern "C" __global__ void __launch_bounds__(128) attention_prefill##D##_##suffix(                                 \
        const uint16_t *q, uint32_t q_stride, const uint16_t *keys, const uint16_t *values, const uint2 *places,       \
        uint32_t seq, uint32_t heads, uint32_t kv_heads, uint32_t head_dim, uint32_t capacity, uint32_t window,        \
        uint32_t both_ways, float scale, uint16_t *out) {                                                              \
        prefill<T, D>(q, q_stride, keys, values, places, seq, heads, kv_heads, capacity, window, both_ways, scale,     \
                      out);                                                                                            \
    }                                                                                                                  \
    KERNEL(attention_prefill##D##_##suffix)
PREFILL(64, f16, F16)
PREFILL(64, bf16, BF16)
PREFILL(128, f16, F16)
PREFILL(128, bf16, BF16)
#endif
