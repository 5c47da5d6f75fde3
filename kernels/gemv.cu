// A weight matrix times a few vectors, as decode needs it: the weights are read once, for m = 1 to 8 vectors.
//
//   y (m, rows) with a stride = x (m, cols) w (rows, cols)^T + bias (rows) T, summed in f32; y is T, or f32 where `wide`
//   gemv_T_mM    w T, x T; cols a multiple of 8
//   gemv_F_T_mM  w block-quantized as embed.cu describes, x in 8-bit blocks as quantize.cu writes them; cols a multiple
//                of 32 (q8_0, q4_0) or 256 (q4_k, q6_k)
//
// The suffix _mM says for how many vectors the kernel is built; m is how many there are.
// Launch: 256 threads; grid ceil(rows / 8) for _m1, ceil(rows / 16) for the others.
// Bytes: rows * cols * (2, 34/32, 18/32, 144/256, 212/256), plus m * (cols + rows) * 2, which the caches absorb.
//
// The roof is memory, so what counts is bytes under way: the loops ask for four times 16 bytes of weights per lane
// before they use any, where columns allow. From two vectors on, two rows per warp share each piece of x, which comes
// from the first cache and would otherwise be its limit.
// targets: 70 80
#include "common.cuh"

namespace {

// Every format: `units()` pieces per row, of which a lane loads one at a time with `load`; `take` fetches what piece
// `unit` needs of vector `i`, and `dot` multiplies the two.
template <typename T> struct Dense {
    const uint16_t *w;
    const uint16_t *x;
    uint32_t cols;

    struct Weights {
        uint4 w;
    };
    struct Taken {
        float x[8];
    };
    DEVICE_MEMBER uint32_t units() const { return cols / 8; }
    DEVICE_MEMBER Weights load(uint64_t row, uint32_t unit) const {
        return {load_once(reinterpret_cast<const uint4 *>(w + row * cols) + unit)};
    }
    DEVICE_MEMBER Taken take(uint32_t i, uint32_t unit) const {
        Taken taken;
        unpack<T>(load16(x + static_cast<uint64_t>(i) * cols + 8 * unit), taken.x);
        return taken;
    }
    DEVICE_MEMBER float dot(const Weights &weights, const Taken &taken, uint32_t, float sum) const {
        float v[8];
        unpack<T>(weights.w, v);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            sum += v[i] * taken.x[i];
        }
        return sum;
    }
};

// What the block formats share.
struct Blocks {
    const uint8_t *quants, *scales;
    const int8_t *x;
    const float2 *x_scale;
    uint32_t cols;

    DEVICE_MEMBER uint4 x16(uint32_t i, uint32_t col) const { return load16(x + static_cast<uint64_t>(i) * cols + col); }
    DEVICE_MEMBER float2 scale_and_sum(uint32_t i, uint32_t block) const {
        return x_scale[static_cast<uint64_t>(i) * (cols / 32) + block];
    }
};

DEVICE int dot16(uint4 a, uint4 b) {
    int sum = dot4(static_cast<int>(a.x), static_cast<int>(b.x), 0);
    sum = dot4(static_cast<int>(a.y), static_cast<int>(b.y), sum);
    sum = dot4(static_cast<int>(a.z), static_cast<int>(b.z), sum);
    return dot4(static_cast<int>(a.w), static_cast<int>(b.w), sum);
}
// The nibbles of 16 bytes as bytes.
DEVICE uint4 nibbles(uint4 v, int shift) {
    const uint32_t mask = 0x0f0f0f0fu;
    return make_uint4(v.x >> shift & mask, v.y >> shift & mask, v.z >> shift & mask, v.w >> shift & mask);
}

// A unit is half a block.
struct Q8_0 : Blocks {
    struct Weights {
        uint4 q;
        uint16_t d;
    };
    struct Taken {
        uint4 x;
        float d;
    };
    DEVICE_MEMBER uint32_t units() const { return cols / 16; }
    DEVICE_MEMBER Weights load(uint64_t row, uint32_t unit) const {
        return {load_once(reinterpret_cast<const uint4 *>(quants + row * cols) + unit),
                reinterpret_cast<const uint16_t *>(scales)[row * (cols / 32) + unit / 2]};
    }
    DEVICE_MEMBER Taken take(uint32_t i, uint32_t unit) const {
        return {x16(i, 16 * unit), scale_and_sum(i, unit / 2).x};
    }
    DEVICE_MEMBER float dot(const Weights &w, const Taken &t, uint32_t, float sum) const {
        return sum + float_of_f16(w.d) * t.d * static_cast<float>(dot16(w.q, t.x));
    }
};

// A unit is a block.
struct Q4_0 : Blocks {
    struct Weights {
        uint4 q;
        uint16_t d;
    };
    struct Taken {
        uint4 low, high;
        float2 scale_and_sum;
    };
    DEVICE_MEMBER uint32_t units() const { return cols / 32; }
    DEVICE_MEMBER Weights load(uint64_t row, uint32_t unit) const {
        return {load_once(reinterpret_cast<const uint4 *>(quants + row * (cols / 2)) + unit),
                reinterpret_cast<const uint16_t *>(scales)[row * (cols / 32) + unit]};
    }
    DEVICE_MEMBER Taken take(uint32_t i, uint32_t unit) const {
        return {x16(i, 32 * unit), x16(i, 32 * unit + 16), scale_and_sum(i, unit)};
    }
    DEVICE_MEMBER float dot(const Weights &w, const Taken &t, uint32_t, float sum) const {
        const int product = dot16(nibbles(w.q, 0), t.low) + dot16(nibbles(w.q, 4), t.high);
        // The nibbles are 8 too large.
        return sum + float_of_f16(w.d) *
                         (t.scale_and_sum.x * static_cast<float>(product) - 8.0f * t.scale_and_sum.y);
    }
};

// A unit is half of 64 weights: the first or last 16 of each of two groups.
struct Q4_K : Blocks {
    struct Weights {
        uint4 q, scales;
    };
    struct Taken {
        uint4 low, high;
        float2 of_low, of_high;
    };
    DEVICE_MEMBER uint32_t units() const { return cols / 32; }
    DEVICE_MEMBER Weights load(uint64_t row, uint32_t unit) const {
        return {load_once(reinterpret_cast<const uint4 *>(quants + row * (cols / 2)) + unit),
                load16(scales + (row * (cols / 256) + unit / 8) * 16)};
    }
    DEVICE_MEMBER Taken take(uint32_t i, uint32_t unit) const {
        const uint32_t group = unit / 2 * 2, col = 32 * group + unit % 2 * 16;
        Taken taken = {x16(i, col), x16(i, col + 32), scale_and_sum(i, group), scale_and_sum(i, group + 1)};
        // The sums are of the whole groups: the first half takes them.
        taken.of_low.y = unit % 2 == 0 ? taken.of_low.y : 0.0f;
        taken.of_high.y = unit % 2 == 0 ? taken.of_high.y : 0.0f;
        return taken;
    }
    DEVICE_MEMBER float dot(const Weights &w, const Taken &t, uint32_t unit, float sum) const {
        const uint32_t group = unit / 2 * 2 % 8;
        float scale, minimum;
        q4_k_scale_and_min(w.scales, group, scale, minimum);
        sum += scale * t.of_low.x * static_cast<float>(dot16(nibbles(w.q, 0), t.low)) - minimum * t.of_low.y;
        q4_k_scale_and_min(w.scales, group + 1, scale, minimum);
        return sum + scale * t.of_high.x * static_cast<float>(dot16(nibbles(w.q, 4), t.high)) - minimum * t.of_high.y;
    }
};

// A unit is 64 weights, 16 of each quarter of half a block: 32 bytes of low bits and 16 of high bits.
struct Q6_K : Blocks {
    struct Weights {
        uint4 low, low_next, high;
        uint32_t scales[2];
        uint16_t d;
    };
    struct Taken {
        uint4 x[4];
        float d[4];
    };
    DEVICE_MEMBER uint32_t units() const { return cols / 64; }
    DEVICE_MEMBER Weights load(uint64_t row, uint32_t unit) const {
        const uint64_t block = row * (cols / 256) + unit / 4;
        const uint32_t half = unit / 2 % 2, part = unit % 2;
        const uint4 *q = reinterpret_cast<const uint4 *>(quants + block * 192);
        const uint32_t *s = reinterpret_cast<const uint32_t *>(scales + block * 20);
        return {load_once(q + half * 4 + part),
                load_once(q + half * 4 + 2 + part),
                load_once(q + 8 + half * 2 + part),
                {s[half * 2], s[half * 2 + 1]},
                static_cast<uint16_t>(s[4] & 0xffffu)};
    }
    DEVICE_MEMBER Taken take(uint32_t i, uint32_t unit) const {
        const uint32_t col = unit / 2 * 128 + unit % 2 * 16;
        Taken taken;
#pragma unroll
        for (int quarter = 0; quarter < 4; quarter++) {
            taken.x[quarter] = x16(i, col + 32 * quarter);
            taken.d[quarter] = scale_and_sum(i, col / 32 + quarter).x;
        }
        return taken;
    }
    // Four weights less 32, without a borrow between bytes.
    static DEVICE_MEMBER uint32_t centred(uint32_t low, uint32_t high) {
        return (((low & 0x0f0f0f0fu) | ((high & 0x03030303u) << 4) | 0x80808080u) - 0x20202020u) ^ 0x80808080u;
    }
    static DEVICE_MEMBER uint4 weights(uint4 low, uint4 high, int nibble, int pair) {
        return make_uint4(centred(low.x >> nibble, high.x >> pair), centred(low.y >> nibble, high.y >> pair),
                          centred(low.z >> nibble, high.z >> pair), centred(low.w >> nibble, high.w >> pair));
    }
    DEVICE_MEMBER float dot(const Weights &w, const Taken &t, uint32_t unit, float sum) const {
        const int part = 8 * static_cast<int>(unit % 2);
        float all = 0.0f;
#pragma unroll
        for (int quarter = 0; quarter < 4; quarter++) {
            const uint4 q = weights(quarter % 2 == 0 ? w.low : w.low_next, w.high, quarter / 2 * 4, quarter * 2);
            const int scale = static_cast<int8_t>(w.scales[quarter / 2] >> (quarter % 2 * 16 + part) & 0xffu);
            all += t.d[quarter] * static_cast<float>(scale * dot16(q, t.x[quarter]));
        }
        return sum + float_of_f16(w.d) * all;
    }
};

} // namespace

// `U` pieces of `R` rows, `step` units apart.
template <typename F, int M, int R, int U>
DEVICE void pieces(const F &w, uint32_t first, uint32_t rows, uint32_t unit, uint32_t m, float sum[R][M]) {
    typename F::Weights loaded[U][R];
#pragma unroll
    for (int u = 0; u < U; u++) {
#pragma unroll
        for (int r = 0; r < R; r++) {
            // A row beyond the last is the last once more; its result is not stored.
            loaded[u][r] = w.load(min(first + r, rows - 1), unit + 32 * u);
        }
    }
#pragma unroll
    for (int u = 0; u < U; u++) {
#pragma unroll
        for (int i = 0; i < M; i++) {
            if (M == 1 || static_cast<uint32_t>(i) < m) {
                const typename F::Taken taken = w.take(i, unit + 32 * u);
#pragma unroll
                for (int r = 0; r < R; r++) {
                    sum[r][i] = w.dot(loaded[u][r], taken, unit + 32 * u, sum[r][i]);
                }
            }
        }
    }
}

template <typename T> DEVICE void store_result(uint16_t *y, uint64_t at, float value, uint32_t wide) {
    if (wide) {
        reinterpret_cast<float *>(y)[at] = value;
    } else {
        y[at] = T::store(value);
    }
}

template <typename T, int M, int R, int U, typename F>
DEVICE void gemv(uint16_t *y, uint32_t y_stride, const F &w, const uint16_t *bias, uint32_t rows, uint32_t m,
                 uint32_t wide) {
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t first = (blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32) * R;
    if (first >= rows) {
        return;
    }
    float sum[R][M] = {};
    const uint32_t units = w.units();
    uint32_t base = 0;
    for (; base + 32 * U <= units; base += 32 * U) {
        pieces<F, M, R, U>(w, first, rows, base + lane, m, sum);
    }
    for (uint32_t unit = base + lane; unit < units; unit += 32) {
        pieces<F, M, R, 1>(w, first, rows, unit, m, sum);
    }
#pragma unroll
    for (int r = 0; r < R; r++) {
#pragma unroll
        for (int i = 0; i < M; i++) {
            const float all = warp_sum(sum[r][i]);
            if (lane == 0 && first + r < rows && static_cast<uint32_t>(i) < m) {
                const float shift = bias == nullptr ? 0.0f : T::load(bias[first + r]);
                store_result<T>(y, static_cast<uint64_t>(i) * y_stride + first + r, all + shift, wide);
            }
        }
    }
}

#if __CUDA_ARCH__ >= 800
// From about four vectors on, plain arithmetic would be the limit; tensor cores take the same loads. The 8 warps of a
// block share 16 rows and divide the columns. Which columns meet in one product does not matter as long as both sides
// agree, so each lane's 16 bytes serve as they come: of 32 columns, lane t of four holds 8 t .. 8 t + 7, the first half
// for one product and the second for the next.
template <typename T>
DEVICE void gemv_mma(uint16_t *y, uint32_t y_stride, const uint16_t *w, const uint16_t *x, const uint16_t *bias,
                     uint32_t rows, uint32_t cols, uint32_t m, uint32_t wide) {
    constexpr int U = 4;
    __shared__ float parts[8][16][8];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32, quad = lane / 4, in_quad = lane % 4;
    const uint32_t first = blockIdx.x * 16;
    // A row beyond the last is the last once more; its result is not stored.
    const uint16_t *row[2] = {w + static_cast<uint64_t>(min(first + quad, rows - 1)) * cols,
                              w + static_cast<uint64_t>(min(first + quad + 8, rows - 1)) * cols};
    const uint16_t *vector = x + static_cast<uint64_t>(min(quad, m - 1)) * cols;
    float sum[4] = {};
    for (uint32_t base = warp * 32 * U; base < cols; base += 8 * 32 * U) {
        uint4 a[U][2], b[U];
#pragma unroll
        for (int u = 0; u < U; u++) {
            const uint32_t col = base + 32 * u + 8 * in_quad;
            a[u][0] = a[u][1] = b[u] = make_uint4(0, 0, 0, 0);
            if (col < cols) {
                a[u][0] = load_once(reinterpret_cast<const uint4 *>(row[0] + col));
                a[u][1] = load_once(reinterpret_cast<const uint4 *>(row[1] + col));
            }
        }
#pragma unroll
        for (int u = 0; u < U; u++) {
            const uint32_t col = base + 32 * u + 8 * in_quad;
            if (col < cols && quad < m) {
                b[u] = load16(vector + col);
            }
            const uint32_t a_first[4] = {a[u][0].x, a[u][1].x, a[u][0].y, a[u][1].y};
            const uint32_t b_first[2] = {b[u].x, b[u].y};
            Mma<T>::add(sum, a_first, b_first);
            const uint32_t a_second[4] = {a[u][0].z, a[u][1].z, a[u][0].w, a[u][1].w};
            const uint32_t b_second[2] = {b[u].z, b[u].w};
            Mma<T>::add(sum, a_second, b_second);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        parts[warp][quad + i / 2 * 8][2 * in_quad + i % 2] = sum[i];
    }
    __syncthreads();
    const uint32_t r = threadIdx.x % 16, i = threadIdx.x / 16;
    if (i < m && i < 8 && first + r < rows) {
        float all = bias == nullptr ? 0.0f : T::load(bias[first + r]);
#pragma unroll
        for (int part = 0; part < 8; part++) {
            all += parts[part][r][i];
        }
        store_result<T>(y, static_cast<uint64_t>(i) * y_stride + first + r, all, wide);
    }
}
#define GEMV_MANY(suffix, T, M)                                                                                        \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        gemv_##suffix##_m##M(uint16_t *y, uint32_t y_stride, const uint16_t *w, const uint16_t *x,                     \
                             const uint16_t *bias, uint32_t rows, uint32_t cols, uint32_t m, uint32_t wide) {          \
        gemv_mma<T>(y, y_stride, w, x, bias, rows, cols, m, wide);                                                     \
    }                                                                                                                  \
    KERNEL(gemv_##suffix##_m##M)
#else
#define GEMV_MANY(suffix, T, M) GEMV(suffix, T, M, 2, 2)
#endif

#define GEMV(suffix, T, M, R, U)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        gemv_##suffix##_m##M(uint16_t *y, uint32_t y_stride, const uint16_t *w, const uint16_t *x,                     \
                             const uint16_t *bias, uint32_t rows, uint32_t cols, uint32_t m, uint32_t wide) {          \
        gemv<T, M, R, U>(y, y_stride, Dense<T>{w, x, cols}, bias, rows, m, wide);                                      \
    }                                                                                                                  \
    KERNEL(gemv_##suffix##_m##M)
// The last arguments are the kernel's bounds: threads of a block, and blocks that a multiprocessor must have room for.
#define GEMV_BLOCKS(format, F, suffix, T, M, R, U, ...)                                                                \
    extern "C" __global__ void __launch_bounds__(__VA_ARGS__)                                                          \
        gemv_##format##_##suffix##_m##M(uint16_t *y, uint32_t y_stride, const uint8_t *quants, const uint8_t *scales,  \
                                        const int8_t *x, const float2 *x_scale_and_sum, const uint16_t *bias,          \
                                        uint32_t rows, uint32_t cols, uint32_t m, uint32_t wide) {                     \
        gemv<T, M, R, U>(y, y_stride, F{{quants, scales, x, x_scale_and_sum, cols}}, bias, rows, m, wide);             \
    }                                                                                                                  \
    KERNEL(gemv_##format##_##suffix##_m##M)
#define BATCHES(suffix, T)                                                                                             \
    GEMV(suffix, T, 1, 1, 4)                                                                                           \
    GEMV(suffix, T, 2, 2, 2)                                                                                           \
    GEMV_MANY(suffix, T, 4)                                                                                            \
    GEMV_MANY(suffix, T, 8)
// The bounds are those for one vector.
#define BATCHES_BLOCKS(format, F, suffix, T, U, ...)                                                                   \
    GEMV_BLOCKS(format, F, suffix, T, 1, 1, U, __VA_ARGS__)                                                            \
    GEMV_BLOCKS(format, F, suffix, T, 2, 2, U / 2, 256)                                                                \
    GEMV_BLOCKS(format, F, suffix, T, 4, 2, U / 2, 256)                                                                \
    GEMV_BLOCKS(format, F, suffix, T, 8, 2, U / 2, 256)
// Left alone, the compiler aims at four blocks of q6_k on 7.5 and 10.0, and spills a register or two for it.
#define FORMATS(suffix, T)                                                                                             \
    BATCHES(suffix, T)                                                                                                 \
    BATCHES_BLOCKS(q8_0, Q8_0, suffix, T, 4, 256)                                                                      \
    BATCHES_BLOCKS(q4_0, Q4_0, suffix, T, 4, 256)                                                                      \
    BATCHES_BLOCKS(q4_k, Q4_K, suffix, T, 4, 256)                                                                      \
    BATCHES_BLOCKS(q6_k, Q6_K, suffix, T, 2, 256, 3)
FORMATS(f16, F16)
FORMATS(bf16, BF16)
