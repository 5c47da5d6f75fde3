// The greedy choice: the first index of the largest logit of each row, straight into the ids that the next step embeds.
//
//   logits (rows, vocab) T, ids (rows) u32, not_finite: 1 once any logit was infinite or NaN
//
// NaN is never chosen; a row of nothing but NaN gives 0.
// Launch: a block of 1024 threads per row; one of 32 for `advance`.
// Bytes: rows * vocab * 2.
// targets: 70
#include "common.cuh"

DEVICE void consider(float value, uint32_t index, float &best, uint32_t &at) {
    if (value > best || (value == best && index < at)) {
        best = value;
        at = index;
    }
}

template <typename T>
DEVICE void argmax(const uint16_t *logits, uint32_t vocab, uint32_t *ids, uint32_t *not_finite) {
    logits += static_cast<uint64_t>(blockIdx.x) * vocab;
    float best = minus_infinity();
    uint32_t at = 0xffffffffu;
    bool strange = false;
    const uint32_t chunks = vocab % 8 == 0 ? vocab / 8 : 0;
#pragma unroll 4
    for (uint32_t chunk = threadIdx.x; chunk < chunks; chunk += blockDim.x) {
        float v[8];
        unpack<T>(load16(logits + 8 * chunk), v);
#pragma unroll
        for (int i = 0; i < 8; i++) {
            strange |= (bits_of_float(v[i]) & 0x7f800000u) == 0x7f800000u;
            consider(v[i], 8 * chunk + i, best, at);
        }
    }
    for (uint32_t i = 8 * chunks + threadIdx.x; i < vocab; i += blockDim.x) {
        const float v = T::load(logits[i]);
        strange |= (bits_of_float(v) & 0x7f800000u) == 0x7f800000u;
        consider(v, i, best, at);
    }
    __shared__ float best_of_warp[32];
    __shared__ uint32_t at_of_warp[32];
    const uint32_t lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const bool any = __any_sync(0xffffffffu, strange);
#pragma unroll
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        const float value = __shfl_xor_sync(0xffffffffu, best, lanes);
        const uint32_t index = __shfl_xor_sync(0xffffffffu, at, lanes);
        consider(value, index, best, at);
    }
    if (lane == 0) {
        best_of_warp[warp] = best;
        at_of_warp[warp] = at;
        if (any) {
            atomicOr(not_finite, 1u);
        }
    }
    __syncthreads();
    if (warp == 0) {
        const bool is = lane < blockDim.x / 32;
        best = is ? best_of_warp[lane] : minus_infinity();
        at = is ? at_of_warp[lane] : 0xffffffffu;
#pragma unroll
        for (int lanes = 16; lanes > 0; lanes /= 2) {
            const float value = __shfl_xor_sync(0xffffffffu, best, lanes);
            const uint32_t index = __shfl_xor_sync(0xffffffffu, at, lanes);
            consider(value, index, best, at);
        }
        if (lane == 0) {
            ids[blockIdx.x] = at < vocab ? at : 0;
        }
    }
}

#define ARGMAX(suffix, T)                                                                                              \
    extern "C" __global__ void __launch_bounds__(1024)                                                                 \
        argmax_##suffix(const uint16_t *logits, uint32_t vocab, uint32_t *ids, uint32_t *not_finite) {                 \
        argmax<T>(logits, vocab, ids, not_finite);                                                                     \
    }                                                                                                                  \
    KERNEL(argmax_##suffix)
ARGMAX(f16, F16)
ARGMAX(bf16, BF16)

// Counts the positions that the cache holds of each sequence, behind the last kernel of a step: places as in rope.cu.
extern "C" __global__ void advance(uint2 *places, uint32_t sequences, uint32_t by) {
    for (uint32_t i = threadIdx.x; i < sequences; i += blockDim.x) {
        places[i].y += by;
    }
}
KERNEL(advance)
