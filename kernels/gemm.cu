// A GEMM for any shape, measured where the vendor's library is absent, and what prefill runs there:
//
//   d[m][n] = sum over k of a[m][k] * b[n][k]     16-bit numbers, f32 sums; a, b, d contiguous along their last index;
//                                                 d is of f32 where `wide`
//
// k must be a multiple of 8 and a, b aligned to 16 bytes, d to 4; any m and n. A block makes a 128 x 128 tile of d; its
// 8 warps 64 x 32 each. Slices of a and b of 32 along k are copied to shared memory three slices ahead of their use.
//
// Operations: 2 * m * n * k. Bytes, at least: 2 * (m * k + n * k + m * n).
// Launch: ceil(m / 128) * ceil(n / 128) blocks (one dimension) of 256 threads, 65536 bytes of dynamic shared memory.
// targets: 80
#include "common.cuh"

constexpr uint32_t TILE = 128, SLICE = 32, STAGES = 4;
constexpr uint32_t UNITS = SLICE / 8;         // 16-byte units of a row
constexpr uint32_t HALF_STAGE = TILE * SLICE; // numbers of one operand
constexpr uint32_t STAGE = 2 * HALF_STAGE;
constexpr uint32_t GROUP = 8; // rows of tiles that run side by side

// Where 16-byte unit `unit` of row `row` lies. Rows are 64 bytes: 8 rows of one unit, which ldmatrix reads at once,
// fall into different banks when the unit is crossed with half the row's number.
DEVICE uint32_t place(uint32_t row, uint32_t unit) { return row * SLICE + (unit ^ (row >> 1 & 3)) * 8; }

// What a thread copies of one operand: one unit of row threadIdx.x / UNITS and of the row 64 further down. Rows beyond
// the last are read as the last: they only reach sums that are not stored.
struct Operand {
    const uint16_t *near, *far;
    DEVICE_MEMBER Operand(const uint16_t *from, uint32_t first_row, uint32_t rows, uint32_t k) {
        const uint32_t row = first_row + threadIdx.x / UNITS, unit = threadIdx.x % UNITS;
        near = from + static_cast<uint64_t>(min(row, rows - 1)) * k + unit * 8;
        far = from + static_cast<uint64_t>(min(row + TILE / 2, rows - 1)) * k + unit * 8;
    }
    // Copies its units of the slice that is next, zeros beyond k, and moves on by one slice.
    DEVICE_MEMBER void copy(uint16_t *to, bool there) {
        copy_async_or_zero(to, near, there);
        copy_async_or_zero(to + TILE / 2 * SLICE, far, there);
        near += SLICE, far += SLICE;
    }
};

template <typename T>
DEVICE void gemm(uint16_t *d, const uint16_t *a, const uint16_t *b, uint32_t m, uint32_t n, uint32_t k,
                 uint32_t wide) {
    DYNAMIC_SHARED(uint16_t, shared);
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t warp_row = warp % 2 * 64, warp_col = warp / 2 * 32;

    // Tiles go down 8 rows of tiles before the next column, so that blocks that run together share more of a and b.
    const uint32_t tiles_m = (m + TILE - 1) / TILE, tiles_n = (n + TILE - 1) / TILE;
    const uint32_t first_tile = blockIdx.x / (GROUP * tiles_n) * GROUP, within = blockIdx.x % (GROUP * tiles_n);
    const uint32_t group = min(GROUP, tiles_m - first_tile);
    const uint32_t first_row = (first_tile + within % group) * TILE, first_col = within / group * TILE;

    const uint32_t slices = (k + SLICE - 1) / SLICE;
    Operand rows(a, first_row, m, k), cols(b, first_col, n, k);
    uint16_t *to = shared + place(threadIdx.x / UNITS, threadIdx.x % UNITS);
    uint32_t at = threadIdx.x % UNITS * 8; // along k, of the unit that is copied next
#pragma unroll
    for (uint32_t stage = 0; stage < STAGES - 1; stage++) {
        if (stage < slices) {
            rows.copy(to + stage * STAGE, at < k);
            cols.copy(to + stage * STAGE + HALF_STAGE, at < k);
            at += SLICE;
        }
        copy_async_commit(); // also when empty: groups are counted
    }

    // What a lane names to ldmatrix, in either step along k of a slice; further rows are plain offsets, since they do
    // not change what the unit is crossed with. Of b, one load gives both halves of k for two groups of 8 columns.
    uint32_t of_a[2], of_b[2];
#pragma unroll
    for (uint32_t step = 0; step < 2; step++) {
        of_a[step] = place(warp_row + lane % 16, step * 2 + lane / 16);
        of_b[step] = HALF_STAGE + place(warp_col + lane % 8 + lane / 16 * 8, step * 2 + lane / 8 % 2);
    }

    float sum[4][4][4] = {};
#pragma unroll 1
    for (uint32_t slice = 0; slice < slices; slice++) {
        copy_async_wait<STAGES - 2>();
        __syncthreads(); // all have this slice, and none reads the one before it any more
        const uint32_t ahead = slice + STAGES - 1;
        if (ahead < slices) {
            rows.copy(to + ahead % STAGES * STAGE, at < k);
            cols.copy(to + ahead % STAGES * STAGE + HALF_STAGE, at < k);
            at += SLICE;
        }
        copy_async_commit();

        const uint16_t *stage = shared + slice % STAGES * STAGE;
#pragma unroll
        for (uint32_t step = 0; step < SLICE / 16; step++) {
            uint32_t left[4][4], right[4][2];
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
                load_matrices(left[i], stage + of_a[step] + i * 16 * SLICE);
            }
#pragma unroll
            for (uint32_t j = 0; j < 4; j += 2) {
                uint32_t r[4];
                load_matrices(r, stage + of_b[step] + j * 8 * SLICE);
                right[j][0] = r[0], right[j][1] = r[1];
                right[j + 1][0] = r[2], right[j + 1][1] = r[3];
            }
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
#pragma unroll
                for (uint32_t j = 0; j < 4; j++) {
                    Mma<T>::add(sum[i][j], left[i], right[j]);
                }
            }
        }
    }

    const bool pairs = n % 2 == 0; // then every pair of columns is aligned
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
#pragma unroll
        for (uint32_t half = 0; half < 2; half++) {
            const uint32_t row = first_row + warp_row + i * 16 + lane / 4 + half * 8;
            if (row >= m) {
                continue;
            }
            uint16_t *to = d + static_cast<uint64_t>(row) * n;
#pragma unroll
            for (uint32_t j = 0; j < 4; j++) {
                const uint32_t col = first_col + warp_col + j * 8 + lane % 4 * 2;
                const float low = sum[i][j][2 * half], high = sum[i][j][2 * half + 1];
                if (wide) {
                    float *const of_f32 = reinterpret_cast<float *>(d) + static_cast<uint64_t>(row) * n;
                    if (col < n) {
                        of_f32[col] = low;
                    }
                    if (col + 1 < n) {
                        of_f32[col + 1] = high;
                    }
                } else if (pairs && col < n) {
                    *reinterpret_cast<uint32_t *>(to + col) = pack_two<T>(low, high);
                } else if (col < n) {
                    to[col] = T::store(low);
                    if (col + 1 < n) {
                        to[col + 1] = T::store(high);
                    }
                }
            }
        }
    }
}

extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_f16(uint16_t *__restrict__ d, const uint16_t *__restrict__ a, const uint16_t *__restrict__ b, uint32_t m,
             uint32_t n, uint32_t k, uint32_t wide) {
    gemm<F16>(d, a, b, m, n, k, wide);
}
KERNEL(gemm_f16)
extern "C" __global__ void __launch_bounds__(256, 2)
    gemm_bf16(uint16_t *__restrict__ d, const uint16_t *__restrict__ a, const uint16_t *__restrict__ b, uint32_t m,
              uint32_t n, uint32_t k, uint32_t wide) {
    gemm<BF16>(d, a, b, m, n, k, wide);
}
KERNEL(gemm_bf16)
