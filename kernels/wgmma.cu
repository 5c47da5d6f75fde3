// The rate of Hopper's tensor cores through wgmma, with both operands in shared memory.
//
// Two warpgroups of a block each add, in every round, a 64 x 256 product over 128 bytes of k to their sums, in four
// instructions that are 32 bytes of k deep.
//
//   tiles   A [row 128][word 32], then B [column 256][word 32], both contiguous along k: k = 64 numbers of 16 bits or
//           128 of 8 bits (12288 words; the same for all blocks)
//   out     [block][row 128][column 256]: rounds * A * B^T, f32 or s32 (which wraps)
//
// Random operands matter: zeros or equal numbers draw less power, and clocks stay higher than they would in use. They
// have to be finite. Integers below 16 make the sums of few rounds exact; the sums of e4m3 are kept to about 14 bits.
//
// Operations per launch: blocks * rounds * 2 * 128 * 256 * k.
// Launch: 256 threads a block, 49152 bytes of dynamic shared memory; 1 block per SM.
// targets: 90a
#include "common.cuh"

#ifndef SIZEWELL_HOST
// What a thread wrote to shared memory is seen by the instructions below.
DEVICE void fence_async_proxy() { asm volatile("fence.proxy.async;" ::: "memory"); }
// Registers written before may be used by the products after.
DEVICE void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int left> DEVICE void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(left) : "memory");
}

// d(64 x 256) += a(64 x k) b(k x 256), where a and b are descriptors of tiles in shared memory.
#define SUMS_16(c, i)                                                                                                  \
    "+" c(d[i + 0]), "+" c(d[i + 1]), "+" c(d[i + 2]), "+" c(d[i + 3]),                                                \
    "+" c(d[i + 4]), "+" c(d[i + 5]), "+" c(d[i + 6]), "+" c(d[i + 7]),                                                \
    "+" c(d[i + 8]), "+" c(d[i + 9]), "+" c(d[i + 10]), "+" c(d[i + 11]),                                              \
    "+" c(d[i + 12]), "+" c(d[i + 13]), "+" c(d[i + 14]), "+" c(d[i + 15])
#define WGMMA(name, Sum, constraint, shape_and_types, scales)                                                          \
    DEVICE void name(Sum d[128], uint64_t a, uint64_t b) {                                                             \
        asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"                                                     \
                     "wgmma.mma_async.sync.aligned.m64n256k" shape_and_types " {"                                      \
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "                          \
                     "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "                \
                     "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "                \
                     "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "                \
                     "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "                \
                     "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "                \
                     "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "    \
                     "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"  \
                     "}, %128, %129, p" scales ";\n}"                                                                  \
                     : SUMS_16(constraint, 0), SUMS_16(constraint, 16), SUMS_16(constraint, 32),                       \
                       SUMS_16(constraint, 48), SUMS_16(constraint, 64), SUMS_16(constraint, 80),                      \
                       SUMS_16(constraint, 96), SUMS_16(constraint, 112)                                               \
                     : "l"(a), "l"(b), "r"(1));                                                                        \
    }
WGMMA(wgmma_f16, float, "f", "16.f32.f16.f16", ", 1, 1, 0, 0")
WGMMA(wgmma_bf16, float, "f", "16.f32.bf16.bf16", ", 1, 1, 0, 0")
WGMMA(wgmma_e4m3, float, "f", "32.f32.e4m3.e4m3", ", 1, 1")
WGMMA(wgmma_s8, int, "r", "32.s32.s8.s8", "")
#endif

constexpr uint32_t GROUPS = 2, ROWS_A = 64 * GROUPS, ROWS_B = 256;
constexpr uint32_t ROW_BYTES = 128, STEP_BYTES = 32, STEPS = ROW_BYTES / STEP_BYTES;

// A tile that starts at a multiple of 1024 bytes: rows of 128 bytes, 1024 bytes from 8 rows to the next 8, the 16-byte
// units of a row crossed with its number (128-byte swizzle, bit 62), which frees reads along k of bank conflicts. The
// leading offset has no meaning in this layout.
DEVICE uint64_t descriptor(const void *tile) {
    return (static_cast<uint64_t>(shared_address(tile)) & 0x3ffffu) >> 4 | static_cast<uint64_t>(1) << 16 |
           static_cast<uint64_t>(8 * ROW_BYTES >> 4) << 32 | static_cast<uint64_t>(1) << 62;
}

template <typename Sum, void (*multiply)(Sum *, uint64_t, uint64_t)>
DEVICE void wgmma_rate(const uint4 *tiles, uint32_t rounds, Sum *out) {
    DYNAMIC_SHARED(unsigned char, shared);
    constexpr uint32_t UNITS = ROW_BYTES / 16;
    for (uint32_t i = threadIdx.x; i < (ROWS_A + ROWS_B) * UNITS; i += blockDim.x) {
        const uint32_t row = i / UNITS, unit = i % UNITS;
        store16(shared + row * ROW_BYTES + (unit ^ row % 8) * 16, tiles[i]);
    }
    fence_async_proxy();
    __syncthreads();

    const uint32_t group = threadIdx.x / 128, lane = threadIdx.x % 32;
    const uint64_t a = descriptor(shared + group * 64 * ROW_BYTES), b = descriptor(shared + ROWS_A * ROW_BYTES);
    Sum d[128];
#pragma unroll
    for (uint32_t i = 0; i < 128; i++) {
        d[i] = 0;
    }
#pragma unroll 1
    for (uint32_t round = 0; round < rounds; round++) {
        wgmma_fence();
#pragma unroll
        for (uint32_t step = 0; step < STEPS; step++) {
            // The swizzle works on addresses, so that a step along k is a plain offset.
            multiply(d, a + step * (STEP_BYTES >> 4), b + step * (STEP_BYTES >> 4));
        }
        wgmma_commit();
        wgmma_wait<1>(); // the tensor cores have the next round's work before this one's is done
    }
    wgmma_wait<0>();

    out += static_cast<uint64_t>(blockIdx.x) * (ROWS_A * ROWS_B);
    const uint32_t row = threadIdx.x / 32 * 16 + lane / 4;
#pragma unroll
    for (uint32_t i = 0; i < 128; i++) {
        out[(row + i / 2 % 2 * 8) * ROWS_B + i / 4 * 8 + lane % 4 * 2 + i % 2] = d[i];
    }
}

#define WGMMA_RATE(name, Sum, multiply)                                                                                \
    extern "C" __global__ void __launch_bounds__(256, 1)                                                               \
        name(const uint4 *__restrict__ tiles, uint32_t rounds, Sum *__restrict__ out) {                                \
        wgmma_rate<Sum, multiply>(tiles, rounds, out);                                                                 \
    }                                                                                                                  \
    KERNEL(name)
WGMMA_RATE(tensor_wgmma_f16, float, wgmma_f16)
WGMMA_RATE(tensor_wgmma_bf16, float, wgmma_bf16)
WGMMA_RATE(tensor_wgmma_e4m3, float, wgmma_e4m3)
WGMMA_RATE(tensor_wgmma_s8, int, wgmma_s8)
