// The rate of the tensor cores through mma.sync, with operands in registers.
//
// A warp holds two slices of A (32 rows each) and of B (64 columns each) and adds their products to 32 x 64 sums in
// every round: 16 independent sums of 16 x 8 per slice. A row of A or a column of B in one slice is 32 bytes, 8 words,
// along k: k = 16 numbers of 16 bits, 8 of tf32, 32 of 8 bits, 64 of 4 bits (the first number in the lowest bits).
//
//   fragments   8 warps of a block, each 1536 words: A [slice 2][row 32][word 8], then B [slice 2][column 64][word 8];
//               the same for all blocks
//   out         [block][warp 8][row 32][column 64]: rounds * sum over slices and k of A * B, f32 or s32
//
// Random operands matter: zeros or equal numbers draw less power, and clocks stay higher than they would in use. They
// have to be finite. Integers below 16 make sums exact in every format; sums of other numbers are rounded by the
// hardware's own rules (the sums of e4m3 are kept to 14 bits or so on some chips).
//
// Operations per launch: blocks * 8 warps * rounds * 2 slices * 2 * 32 * 64 * k.
// Launch: 256 threads a block; 2 blocks per SM. Hopper reaches its full rate only through wgmma.cu. Some chips run a
// product by other instructions, and what is measured there is that: 4-bit integers since Hopper, e4m3 on Hopper and
// sm_100.
// targets: 75 80 89
#include "common.cuh"

template <typename Sum, void (*multiply)(Sum *, const uint32_t *, const uint32_t *)>
DEVICE void tensor_rate(const uint32_t *fragments, uint32_t rounds, Sum *out) {
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t *of_a = fragments + warp * 1536, *of_b = of_a + 512;
    uint32_t a[2][2][4], b[2][8][2];
#pragma unroll
    for (uint32_t slice = 0; slice < 2; slice++) {
#pragma unroll
        for (uint32_t m = 0; m < 2; m++) {
#pragma unroll
            for (uint32_t r = 0; r < 4; r++) {
                const uint32_t row = m * 16 + lane / 4 + r % 2 * 8, word = lane % 4 + r / 2 * 4;
                a[slice][m][r] = of_a[(slice * 32 + row) * 8 + word];
            }
        }
#pragma unroll
        for (uint32_t n = 0; n < 8; n++) {
#pragma unroll
            for (uint32_t r = 0; r < 2; r++) {
                b[slice][n][r] = of_b[(slice * 64 + n * 8 + lane / 4) * 8 + lane % 4 + r * 4];
            }
        }
    }
    Sum d[2][8][4] = {};
#pragma unroll 1
    for (uint32_t round = 0; round < rounds; round++) {
#pragma unroll
        for (uint32_t slice = 0; slice < 2; slice++) {
#pragma unroll
            for (uint32_t n = 0; n < 8; n++) {
#pragma unroll
                for (uint32_t m = 0; m < 2; m++) {
                    multiply(d[m][n], a[slice][m], b[slice][n]);
                }
            }
        }
    }
    out += (static_cast<uint64_t>(blockIdx.x) * (blockDim.x / 32) + warp) * (32 * 64);
#pragma unroll
    for (uint32_t m = 0; m < 2; m++) {
#pragma unroll
        for (uint32_t n = 0; n < 8; n++) {
#pragma unroll
            for (uint32_t i = 0; i < 4; i++) {
                out[(m * 16 + lane / 4 + i / 2 * 8) * 64 + n * 8 + lane % 4 * 2 + i % 2] = d[m][n][i];
            }
        }
    }
}

// `blocks` per SM bounds the registers; one where some chips have to emulate the product, which takes more of them.
#define TENSOR_RATE(name, Sum, multiply, blocks)                                                                       \
    extern "C" __global__ void __launch_bounds__(256, blocks)                                                          \
        name(const uint32_t *__restrict__ fragments, uint32_t rounds, Sum *__restrict__ out) {                         \
        tensor_rate<Sum, multiply>(fragments, rounds, out);                                                            \
    }                                                                                                                  \
    KERNEL(name)

#if __CUDA_ARCH__ >= 800
TENSOR_RATE(tensor_f16, float, mma_f16, 2)
TENSOR_RATE(tensor_bf16, float, mma_bf16, 2)
TENSOR_RATE(tensor_tf32, float, mma_tf32, 2)
TENSOR_RATE(tensor_s8, int, mma_s8, 2)
TENSOR_RATE(tensor_s4, int, mma_s4, 1)
#else
// Turing's product is half as deep: the first half of k is in the first two registers of a.
DEVICE void mma_f16_halves(float *d, const uint32_t *a, const uint32_t *b) {
    mma_f16_k8(d, a, b[0]);
    mma_f16_k8(d, a + 2, b[1]);
}
TENSOR_RATE(tensor_f16, float, mma_f16_halves, 2)
#endif
#if __CUDA_ARCH__ >= 890
TENSOR_RATE(tensor_e4m3, float, mma_e4m3, 1)
#endif
