// Rows of a table as numbers: the embedding of tokens, and block-quantized weights for a product in 16 bits.
//
//   embed_T        residual (tokens, cols) f32 = table (vocab, cols) T at ids (tokens)
//   embed_F        the same from a block-quantized table
//   dequantize_F_T out (rows, cols) T = rows `row_ids` of a block-quantized matrix, or row i where that is null
//   gather_rows    out (rows, cols) = rows `row_ids` of a matrix of 16-bit numbers, whatever they are
//
// Formats on the device, repacked from GGUF so that 16-byte loads are aligned; per row of `cols`:
//   q8_0: quants cols int8; scales cols / 32 f16
//   q4_0: quants cols / 2, byte j of 16 holds weights j (low) and j + 16; scales cols / 32 f16; value (q - 8) * d
//   q4_k: quants cols / 2, byte j of 32 holds weights j (low) and j + 32; scales cols / 256 x 16 bytes: d, dmin f16 and
//         the 12 bytes of 6-bit scales and minima; value d * scale * q - dmin * minimum
//   q6_k: quants cols / 256 x 192 bytes: ql[128], qh[64]; scales cols / 256 x 20 bytes: int8[16], d f16, 2 unused
//
// Columns are a multiple of 8, of 32 for q8_0 and q4_0, of 256 for q4_k and q6_k.
// Launch: a block of 256 threads per row.
// Bytes: rows * cols * (4 or 2, and the format's: 2, 34/32, 18/32, 144/256, 212/256).
// targets: 70
#include "common.cuh"

DEVICE void bytes8(const uint8_t *at, uint8_t to[8]) {
    const uint2 from = *reinterpret_cast<const uint2 *>(at);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        to[i] = static_cast<uint8_t>(from.x >> 8 * i);
        to[i + 4] = static_cast<uint8_t>(from.y >> 8 * i);
    }
}
DEVICE float f16_at(const uint8_t *at) { return float_of_f16(*reinterpret_cast<const uint16_t *>(at)); }

namespace {

// Each format: the 8 weights from column `col` of `row`.
struct Q8_0 {
    static DEVICE_MEMBER void values(const uint8_t *quants, const uint8_t *scales, uint64_t row, uint32_t cols,
                                     uint32_t col, float v[8]) {
        uint8_t q[8];
        bytes8(quants + row * cols + col, q);
        const float d = f16_at(scales + (row * (cols / 32) + col / 32) * 2);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = d * static_cast<float>(static_cast<int8_t>(q[i]));
        }
    }
};
struct Q4_0 {
    static DEVICE_MEMBER void values(const uint8_t *quants, const uint8_t *scales, uint64_t row, uint32_t cols,
                                     uint32_t col, float v[8]) {
        uint8_t q[8];
        bytes8(quants + row * (cols / 2) + col / 32 * 16 + col % 16, q);
        const float d = f16_at(scales + (row * (cols / 32) + col / 32) * 2);
        const int shift = col % 32 < 16 ? 0 : 4;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = d * static_cast<float>((q[i] >> shift & 15) - 8);
        }
    }
};
struct Q4_K {
    static DEVICE_MEMBER void values(const uint8_t *quants, const uint8_t *scales, uint64_t row, uint32_t cols,
                                     uint32_t col, float v[8]) {
        uint8_t q[8];
        bytes8(quants + row * (cols / 2) + col / 64 * 32 + col % 32, q);
        float scale, minimum;
        q4_k_scale_and_min(load16(scales + (row * (cols / 256) + col / 256) * 16), col / 32 % 8, scale, minimum);
        const int shift = col % 64 < 32 ? 0 : 4;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = scale * static_cast<float>(q[i] >> shift & 15) - minimum;
        }
    }
};
struct Q6_K {
    static DEVICE_MEMBER void values(const uint8_t *quants, const uint8_t *scales, uint64_t row, uint32_t cols,
                                     uint32_t col, float v[8]) {
        const uint64_t block = row * (cols / 256) + col / 256;
        // 128 weights share 64 bytes of low and 32 of high bits: quarter 0 and 1 in the low nibbles, 2 and 3 in the high.
        const uint32_t half = col / 128 % 2, quarter = col / 32 % 4, at = col % 32;
        uint8_t low[8], high[8];
        bytes8(quants + block * 192 + half * 64 + quarter % 2 * 32 + at, low);
        bytes8(quants + block * 192 + 128 + half * 32 + at, high);
        const float d = f16_at(scales + block * 20 + 16) *
                        static_cast<float>(static_cast<int8_t>(scales[block * 20 + col % 256 / 16]));
        const uint32_t nibble = quarter / 2 * 4, pair = quarter * 2;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            v[i] = d * static_cast<float>(static_cast<int>((low[i] >> nibble & 15) | (high[i] >> pair & 3) << 4) - 32);
        }
    }
};

} // namespace

DEVICE void store_floats(float *to, const float v[8]) {
    reinterpret_cast<float4 *>(to)[0] = make_float4(v[0], v[1], v[2], v[3]);
    reinterpret_cast<float4 *>(to)[1] = make_float4(v[4], v[5], v[6], v[7]);
}

template <typename T>
DEVICE void embed(float *residual, const uint16_t *table, const uint32_t *ids, uint32_t cols) {
    const uint64_t to = static_cast<uint64_t>(blockIdx.x) * cols, from = static_cast<uint64_t>(ids[blockIdx.x]) * cols;
    for (uint32_t c = 8 * threadIdx.x; c < cols; c += 8 * blockDim.x) {
        float v[8];
        unpack<T>(load16(table + from + c), v);
        store_floats(residual + to + c, v);
    }
}

template <typename F>
DEVICE void embed_blocks(float *residual, const uint8_t *quants, const uint8_t *scales, const uint32_t *ids,
                         uint32_t cols) {
    const uint64_t to = static_cast<uint64_t>(blockIdx.x) * cols, row = ids[blockIdx.x];
    for (uint32_t c = 8 * threadIdx.x; c < cols; c += 8 * blockDim.x) {
        float v[8];
        F::values(quants, scales, row, cols, c, v);
        store_floats(residual + to + c, v);
    }
}

template <typename F, typename T>
DEVICE void dequantize(uint16_t *out, const uint8_t *quants, const uint8_t *scales, const uint32_t *row_ids,
                       uint32_t cols) {
    const uint64_t to = static_cast<uint64_t>(blockIdx.x) * cols;
    const uint64_t row = row_ids == nullptr ? blockIdx.x : row_ids[blockIdx.x];
    for (uint32_t c = 8 * threadIdx.x; c < cols; c += 8 * blockDim.x) {
        float v[8];
        F::values(quants, scales, row, cols, c, v);
        store16(out + to + c, pack<T>(v));
    }
}

extern "C" __global__ void __launch_bounds__(256)
    gather_rows(uint16_t *out, const uint16_t *table, const uint32_t *row_ids, uint32_t cols) {
    const uint64_t to = static_cast<uint64_t>(blockIdx.x) * cols;
    const uint64_t from = static_cast<uint64_t>(row_ids[blockIdx.x]) * cols;
    for (uint32_t c = 8 * threadIdx.x; c < cols; c += 8 * blockDim.x) {
        store16(out + to + c, load16(table + from + c));
    }
}
KERNEL(gather_rows)

#define EMBED(suffix, T)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        embed_##suffix(float *residual, const uint16_t *table, const uint32_t *ids, uint32_t cols) {                   \
        embed<T>(residual, table, ids, cols);                                                                          \
    }                                                                                                                  \
    KERNEL(embed_##suffix)
EMBED(f16, F16)
EMBED(bf16, BF16)

#define DEQUANTIZE(format, F, suffix, T)                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        dequantize_##format##_##suffix(uint16_t *out, const uint8_t *quants, const uint8_t *scales,                    \
                                       const uint32_t *row_ids, uint32_t cols) {                                       \
        dequantize<F, T>(out, quants, scales, row_ids, cols);                                                          \
    }                                                                                                                  \
    KERNEL(dequantize_##format##_##suffix)
#define BLOCKS(format, F)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        embed_##format(float *residual, const uint8_t *quants, const uint8_t *scales, const uint32_t *ids,             \
                       uint32_t cols) {                                                                                \
        embed_blocks<F>(residual, quants, scales, ids, cols);                                                          \
    }                                                                                                                  \
    KERNEL(embed_##format)                                                                                             \
    DEQUANTIZE(format, F, f16, F16)                                                                                    \
    DEQUANTIZE(format, F, bf16, BF16)
BLOCKS(q8_0, Q8_0)
BLOCKS(q4_0, Q4_0)
BLOCKS(q4_k, Q4_K)
BLOCKS(q6_k, Q6_K)
