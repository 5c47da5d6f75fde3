// What every kernel uses: number formats, warp reductions, the tensor-core and copy instructions.
//
// No header of the toolkit is included, so that the run-time compiler alone is enough; nvcc takes them too, for a quick
// comparison on a machine with a card. The same sources compile as C++
// with SIZEWELL_HOST, where tests/fake_cuda/host.hpp plays the GPU: each instruction below has its meaning there too.
#pragma once

#ifdef SIZEWELL_HOST
#include "host.hpp"
#else
#ifdef __CUDACC_RTC__
typedef unsigned char uint8_t;
typedef signed char int8_t;
typedef unsigned short uint16_t;
typedef unsigned int uint32_t;
typedef int int32_t;
typedef unsigned long long uint64_t;
typedef long long int64_t;
#else
// nvcc reads the host's own headers, whose types of these names are others.
#include <cstdint>
#endif
#define KERNEL(name) // registers a kernel with the fake device; nothing here
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define DYNAMIC_SHARED(type, name)                                                                                     \
    extern __shared__ __align__(1024) unsigned char dynamic_shared_memory[];                                           \
    type *name = reinterpret_cast<type *>(dynamic_shared_memory)

// Number formats, as their 16 bits.
DEVICE float float_of_f16(uint16_t bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
DEVICE uint16_t f16_of_float(float value) {
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
DEVICE float float_of_bits(uint32_t bits) { return __uint_as_float(bits); }
DEVICE uint32_t bits_of_float(float value) { return __float_as_uint(value); }

// Dot product of four pairs of 8-bit integers, added to `sum`.
// Not __dp4a: without its header the run-time compiler leaves a call to a function that nothing defines.
DEVICE int dot4(int a, int b, int sum) {
    int all;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(all) : "r"(a), "r"(b), "r"(sum));
    return all;
}

// 2^x, to about two units in the last place.
DEVICE float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Pairs of 16-bit numbers: a * b + c in each half, rounded once.
DEVICE uint32_t fma_f16x2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t d;
    asm("fma.rn.f16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
#if __CUDA_ARCH__ >= 800
DEVICE uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
    uint32_t d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}
#endif

// Loads that the first cache never answers.
DEVICE uint4 load_past_l1(const uint4 *at) {
    uint4 v;
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at));
    return v;
}
DEVICE uint32_t load_past_l1(const uint32_t *at) {
    uint32_t v;
    asm volatile("ld.global.cg.u32 %0, [%1];" : "=r"(v) : "l"(at));
    return v;
}

// A load that other loads may overtake and that leaves no trace in the first cache: for weights, read once.
DEVICE uint4 load_once(const uint4 *at) {
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at));
    return v;
}

DEVICE uint32_t shared_address(const void *pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

#if __CUDA_ARCH__ >= 800
// 16 bytes from device memory to shared memory behind the thread's back.
DEVICE void copy_async(void *to, const void *from) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
// The same where `there`; 16 zero bytes, and nothing read, elsewhere.
DEVICE void copy_async_or_zero(void *to, const void *from, bool there) {
    const uint32_t bytes = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes)
                 : "memory");
}
DEVICE void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `left` of this thread's groups are under way.
template <int left> DEVICE void copy_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(left) : "memory"); }
#endif

#if __CUDA_ARCH__ >= 750
// Four 8x8 matrices of 16-bit numbers from shared memory; lane i names row i % 8 of matrix i / 8.
DEVICE void load_matrices(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
// The same, each matrix transposed.
DEVICE void load_matrices_transposed(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
#endif

// Products of a warp: d(16 x 8) += a(16 x k) b(k x 8); fragments as the PTX ISA lays them out (mma.m16n8k*).
#define MMA_F32(name, shape_and_types)                                                                                 \
    DEVICE void name(float d[4], const uint32_t a[4], const uint32_t b[2]) {                                           \
        asm volatile("mma.sync.aligned." shape_and_types                                                               \
                     " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                \
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                                                  \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                              \
    }
#define MMA_S32(name, shape_and_types)                                                                                 \
    DEVICE void name(int d[4], const uint32_t a[4], const uint32_t b[2]) {                                             \
        asm volatile("mma.sync.aligned." shape_and_types                                                               \
                     " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                                \
                     : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                                                  \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                              \
    }
#if __CUDA_ARCH__ >= 800
MMA_F32(mma_f16, "m16n8k16.row.col.f32.f16.f16.f32")
MMA_F32(mma_bf16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA_F32(mma_tf32, "m16n8k8.row.col.f32.tf32.tf32.f32")
MMA_S32(mma_s8, "m16n8k32.row.col.s32.s8.s8.s32")
MMA_S32(mma_s4, "m16n8k64.row.col.s32.s4.s4.s32")
#endif
#if __CUDA_ARCH__ >= 890
MMA_F32(mma_e4m3, "m16n8k32.row.col.f32.e4m3.e4m3.f32")
#endif
#if __CUDA_ARCH__ >= 750
// The shape that Turing has: k = 8, two registers of a, one of b.
DEVICE void mma_f16_k8(float d[4], const uint32_t a[2], uint32_t b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32"
                 " {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
}
#endif
#endif // SIZEWELL_HOST

// bf16 is the upper half of an f32; rounded to nearest even.
DEVICE float float_of_bf16(uint16_t bits) { return float_of_bits(static_cast<uint32_t>(bits) << 16); }
DEVICE uint16_t bf16_of_float(float value) {
    uint32_t bits = bits_of_float(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) {
        return static_cast<uint16_t>((bits >> 16) | 0x40u);
    }
    return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// The two 16-bit formats as types to write templates over.
struct F16 {
    static DEVICE_MEMBER float load(uint16_t bits) { return float_of_f16(bits); }
    static DEVICE_MEMBER uint16_t store(float value) { return f16_of_float(value); }
};
struct BF16 {
    static DEVICE_MEMBER float load(uint16_t bits) { return float_of_bf16(bits); }
    static DEVICE_MEMBER uint16_t store(float value) { return bf16_of_float(value); }
};

// Spreads the bits of a counter (a bijection of 32-bit words): data that neither DRAM nor a multiplier finds easy, and
// that the host can compute again.
DEVICE uint32_t mix(uint32_t x) {
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

// Reductions over a warp; every lane gets the result.
DEVICE float warp_sum(float value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, lanes);
    }
    return value;
}
DEVICE float warp_max(float value) {
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, lanes));
    }
    return value;
}

// Eight numbers of a 16-byte load, and back.
template <typename T> DEVICE void unpack(uint4 from, float to[8]) {
    const uint32_t words[4] = {from.x, from.y, from.z, from.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        to[2 * i] = T::load(static_cast<uint16_t>(words[i] & 0xffffu));
        to[2 * i + 1] = T::load(static_cast<uint16_t>(words[i] >> 16));
    }
}
template <typename T> DEVICE uint32_t pack_two(float low, float high) {
    return static_cast<uint32_t>(T::store(low)) | static_cast<uint32_t>(T::store(high)) << 16;
}
template <typename T> DEVICE uint4 pack(const float from[8]) {
    return make_uint4(pack_two<T>(from[0], from[1]), pack_two<T>(from[2], from[3]), pack_two<T>(from[4], from[5]),
                      pack_two<T>(from[6], from[7]));
}
DEVICE uint4 load16(const void *at) { return *reinterpret_cast<const uint4 *>(at); }
DEVICE void store16(void *at, uint4 value) { *reinterpret_cast<uint4 *>(at) = value; }

// The sum over a block of whole warps; every thread gets it. May be called again only behind a __syncthreads.
DEVICE float block_sum(float value) {
    __shared__ float of_warp[32];
    value = warp_sum(value);
    if (threadIdx.x % 32 == 0) {
        of_warp[threadIdx.x / 32] = value;
    }
    __syncthreads();
    value = threadIdx.x % 32 < blockDim.x / 32 ? of_warp[threadIdx.x % 32] : 0.0f;
    return warp_sum(value);
}

DEVICE float minus_infinity() { return float_of_bits(0xff800000u); }

// The 6-bit scale and minimum of 32-weight group `group` (0..8) of a Q4_K block, whose d, dmin and 12 packed bytes are
// the words of `block`.
DEVICE void q4_k_scale_and_min(uint4 block, uint32_t group, float &scale, float &minimum) {
    const uint32_t shift = 8 * (group & 3);
    const uint32_t a = block.y >> shift, b = block.z >> shift, c = block.w >> shift;
    const uint32_t s = group < 4 ? a & 63 : (c & 15) | (a >> 6 & 3) << 4;
    const uint32_t m = group < 4 ? b & 63 : (c >> 4 & 15) | (b >> 6 & 3) << 4;
    scale = float_of_f16(static_cast<uint16_t>(block.x & 0xffffu)) * static_cast<float>(s);
    minimum = float_of_f16(static_cast<uint16_t>(block.x >> 16)) * static_cast<float>(m);
}

// A tensor-core product in either format.
#if __CUDA_ARCH__ >= 800
template <typename T> struct Mma;
template <> struct Mma<F16> {
    static DEVICE_MEMBER void add(float d[4], const uint32_t a[4], const uint32_t b[2]) { mma_f16(d, a, b); }
};
template <> struct Mma<BF16> {
    static DEVICE_MEMBER void add(float d[4], const uint32_t a[4], const uint32_t b[2]) { mma_bf16(d, a, b); }
};
#endif

// Four neighbouring lanes hold 8 numbers each, a block of 32, and write its 8-bit form: q = v / d rounded, where
// d = max |v| / 127, and the pair (d, d * sum of q). A NaN or infinity anywhere makes the pair NaN. The whole warp calls;
// lanes with `here` false write nothing.
DEVICE void store_q8(const float v[8], bool here, int8_t *q, float2 *scale_and_sum) {
    float largest = 0.0f, poison = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        largest = fmaxf(largest, fabsf(v[i]));
        poison += v[i] * 0.0f; // the maximum alone drops NaN
    }
#pragma unroll
    for (int lanes = 1; lanes < 4; lanes *= 2) {
        largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, lanes));
        poison += __shfl_xor_sync(0xffffffffu, poison, lanes);
    }
    const float inverse = largest > 0.0f ? 127.0f / largest : 0.0f;
    uint32_t words[2] = {0, 0};
    int sum = 0;
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int rounded = static_cast<int>(rintf(v[i] * inverse));
        sum += rounded;
        words[i / 4] |= (static_cast<uint32_t>(rounded) & 0xffu) << 8 * (i % 4);
    }
#pragma unroll
    for (int lanes = 1; lanes < 4; lanes *= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, lanes);
    }
    if (here) {
        *reinterpret_cast<uint2 *>(q) = make_uint2(words[0], words[1]);
        if (threadIdx.x % 4 == 0) {
            const float scale = largest / 127.0f + poison;
            *scale_and_sum = make_float2(scale, scale * static_cast<float>(sum));
        }
    }
}
