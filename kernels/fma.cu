// The rate of multiply-adds outside of the tensor cores.
//
// A thread holds CHAINS = 16 numbers (for 16-bit formats, pairs) and does x = x * a + b on each, STEPS = 16 times a
// round, so that 16 results are under way at once.
//
//   thread t of all threads, chain c: r = mix(16 * t + c), mix as in common.cuh, and at the start
//     fma_f32    x = (r >> 8) * 2^-24
//     fma_f16    x = (r & 2047) * 2^-11 in the low half, (r >> 16 & 2047) * 2^-11 in the high half
//     fma_bf16   x = (r & 255) * 2^-8 in the low half, (r >> 16 & 255) * 2^-8 in the high half
//   out[t] = xor over the chains of the bits of x after 16 * rounds steps, each step rounded once (fma).
//
// a = -1, b = 1 turns x into 1 - x and back without rounding, so that bits change in every step of a run of any length:
// the choice for measuring. Since it comes back to where it began, another choice (a = 0.75, b = 0.3) with few rounds
// shows that every step was done.
//
// Operations per launch: threads * rounds * 16 * 16 * 2, twice that for the 16-bit formats.
// Launch: 256 threads a block; 8 blocks per SM.
// targets: 70 80
#include "common.cuh"

constexpr uint32_t CHAINS = 16, STEPS = 16;

// How a format starts and steps; `Word` is what a register holds.
struct Float32 {
    typedef float Word;
    static DEVICE_MEMBER Word start(uint32_t r) { return static_cast<float>(r >> 8) * (1.0f / 16777216.0f); }
    static DEVICE_MEMBER Word step(Word x, Word a, Word b) { return fmaf(x, a, b); }
    static DEVICE_MEMBER uint32_t bits(Word x) { return bits_of_float(x); }
};
struct Pairs16 {
    typedef uint32_t Word;
    static DEVICE_MEMBER uint32_t bits(Word x) { return x; }
};
struct PairF16 : Pairs16 {
    static DEVICE_MEMBER Word start(uint32_t r) {
        return pack_two<F16>(static_cast<float>(r & 2047u) * (1.0f / 2048.0f),
                             static_cast<float>(r >> 16 & 2047u) * (1.0f / 2048.0f));
    }
    static DEVICE_MEMBER Word step(Word x, Word a, Word b) { return fma_f16x2(x, a, b); }
};

template <typename Format>
DEVICE void multiply_add(uint32_t *out, uint32_t rounds, typename Format::Word a, typename Format::Word b) {
    const uint32_t thread = blockIdx.x * blockDim.x + threadIdx.x;
    typename Format::Word x[CHAINS];
#pragma unroll
    for (uint32_t chain = 0; chain < CHAINS; chain++) {
        x[chain] = Format::start(mix(CHAINS * thread + chain));
    }
#pragma unroll 1
    for (uint32_t round = 0; round < rounds; round++) {
#pragma unroll
        for (uint32_t step = 0; step < STEPS; step++) {
#pragma unroll
            for (uint32_t chain = 0; chain < CHAINS; chain++) {
                x[chain] = Format::step(x[chain], a, b);
            }
        }
    }
    uint32_t word = 0;
#pragma unroll
    for (uint32_t chain = 0; chain < CHAINS; chain++) {
        word ^= Format::bits(x[chain]);
    }
    out[thread] = word;
}

extern "C" __global__ void __launch_bounds__(256) fma_f32(uint32_t *out, uint32_t rounds, float a, float b) {
    multiply_add<Float32>(out, rounds, a, b);
}
KERNEL(fma_f32)

// a and b: the number in both halves.
extern "C" __global__ void __launch_bounds__(256) fma_f16(uint32_t *out, uint32_t rounds, uint32_t a, uint32_t b) {
    multiply_add<PairF16>(out, rounds, a, b);
}
KERNEL(fma_f16)

#if __CUDA_ARCH__ >= 800
struct PairBF16 : Pairs16 {
    static DEVICE_MEMBER Word start(uint32_t r) {
        return pack_two<BF16>(static_cast<float>(r & 255u) * (1.0f / 256.0f),
                              static_cast<float>(r >> 16 & 255u) * (1.0f / 256.0f));
    }
    static DEVICE_MEMBER Word step(Word x, Word a, Word b) { return fma_bf16x2(x, a, b); }
};
extern "C" __global__ void __launch_bounds__(256) fma_bf16(uint32_t *out, uint32_t rounds, uint32_t a, uint32_t b) {
    multiply_add<PairBF16>(out, rounds, a, b);
}
KERNEL(fma_bf16)
#endif
