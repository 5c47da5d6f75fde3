// The rate of memory: read, write, copy and triad in device memory, reads that the second cache answers, and the
// kernels that fill buffers with data.
//
// Launch: 256 threads a block, any number of blocks; 8 blocks per SM fill one. `count` counts 16-byte units, except
// where it says words.
//
// Bytes per launch:
//   read_bandwidth    16 * count
//   write_bandwidth   16 * count
//   copy_bandwidth    32 * count
//   triad_bandwidth   48 * count
//   l2_bandwidth      16 * count * rounds
//
// Results, to be checked:
//   read_bandwidth    out[block] = xor of the words that the block read; the xor of all out = the xor of all words
//   l2_bandwidth      the same; each round takes the xor again, so that `rounds` must be odd to leave one
//   write_bandwidth   word w of out = uint32(w) * 0x9e3779b1 + seed
//   triad_bandwidth   a[i] = fma(s, c[i], b[i])
//   fill_random       word w of out = mix(uint32(w) ^ mix(seed + uint32(w >> 32))), mix as in common.cuh
//   fill_f16, _bf16   the two halves h of that word, each rounded from f32(int16(h)) * 2^-15 * scale
// targets: 70
#include "common.cuh"

// 16-byte loads in flight per thread. With 2048 threads an SM this is 128 KiB, several times what latency asks for.
constexpr uint32_t IN_FLIGHT = 4;

DEVICE uint32_t xor_of(uint4 v) { return v.x ^ v.y ^ v.z ^ v.w; }

// Writes the xor of all threads' words.
DEVICE void write_block_xor(uint32_t word, uint32_t *out) {
    __shared__ uint32_t of_warp[32];
    for (int lanes = 16; lanes > 0; lanes /= 2) {
        word ^= __shfl_xor_sync(0xffffffffu, word, lanes);
    }
    if (threadIdx.x % 32 == 0) {
        of_warp[threadIdx.x / 32] = word;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (uint32_t warp = 1; warp < blockDim.x / 32; warp++) {
            word ^= of_warp[warp];
        }
        out[blockIdx.x] = word;
    }
}

// The xor of the words of `share`-th of `gridDim.x` shares. A block reads whole tiles, so that the loads of a thread fall
// into neighbouring pages of DRAM.
template <uint4 (*load)(const uint4 *)>
DEVICE uint32_t xor_of_share(const uint4 *in, uint64_t count, uint64_t share) {
    const uint64_t tile = static_cast<uint64_t>(blockDim.x) * IN_FLIGHT;
    uint32_t word = 0;
    for (uint64_t at = share * tile; at < count; at += gridDim.x * tile) {
        const uint64_t first = at + threadIdx.x;
        if (at + tile <= count) {
            uint4 v[IN_FLIGHT];
#pragma unroll
            for (uint32_t i = 0; i < IN_FLIGHT; i++) {
                v[i] = load(in + first + i * blockDim.x);
            }
#pragma unroll
            for (uint32_t i = 0; i < IN_FLIGHT; i++) {
                word ^= xor_of(v[i]);
            }
        } else {
            for (uint64_t i = first; i < count; i += blockDim.x) {
                word ^= xor_of(load(in + i));
            }
        }
    }
    return word;
}

extern "C" __global__ void __launch_bounds__(256)
    read_bandwidth(const uint4 *__restrict__ in, uint64_t count, uint32_t *__restrict__ out) {
    write_block_xor(xor_of_share<load_once>(in, count, blockIdx.x), out);
}
KERNEL(read_bandwidth)

extern "C" __global__ void __launch_bounds__(256) write_bandwidth(uint4 *__restrict__ out, uint64_t count,
                                                                  uint32_t seed) {
    const uint64_t stride = static_cast<uint64_t>(gridDim.x) * blockDim.x;
    // A pattern of its own in each word: some chips compress or skip writes of equal data.
    constexpr uint32_t STEP = 0x9e3779b1u;
#pragma unroll 4
    for (uint64_t i = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) {
        const uint32_t first = static_cast<uint32_t>(i) * 4 * STEP + seed;
        out[i] = make_uint4(first, first + STEP, first + 2 * STEP, first + 3 * STEP);
    }
}
KERNEL(write_bandwidth)

extern "C" __global__ void __launch_bounds__(256)
    copy_bandwidth(uint4 *__restrict__ out, const uint4 *__restrict__ in, uint64_t count) {
    const uint64_t tile = static_cast<uint64_t>(blockDim.x) * IN_FLIGHT;
    for (uint64_t at = blockIdx.x * tile; at < count; at += gridDim.x * tile) {
        const uint64_t first = at + threadIdx.x;
        if (at + tile <= count) {
            uint4 v[IN_FLIGHT];
#pragma unroll
            for (uint32_t i = 0; i < IN_FLIGHT; i++) {
                v[i] = load_once(in + first + i * blockDim.x);
            }
#pragma unroll
            for (uint32_t i = 0; i < IN_FLIGHT; i++) {
                out[first + i * blockDim.x] = v[i];
            }
        } else {
            for (uint64_t i = first; i < count; i += blockDim.x) {
                out[i] = load_once(in + i);
            }
        }
    }
}
KERNEL(copy_bandwidth)

DEVICE float4 triad(uint4 b, float s, uint4 c) {
    const float x = fmaf(s, float_of_bits(c.x), float_of_bits(b.x));
    const float y = fmaf(s, float_of_bits(c.y), float_of_bits(b.y));
    const float z = fmaf(s, float_of_bits(c.z), float_of_bits(b.z));
    const float w = fmaf(s, float_of_bits(c.w), float_of_bits(b.w));
    return make_float4(x, y, z, w);
}

extern "C" __global__ void __launch_bounds__(256) triad_bandwidth(float4 *__restrict__ a, const float4 *__restrict__ b,
                                                                  const float4 *__restrict__ c, float s,
                                                                  uint64_t count) {
    constexpr uint32_t EACH = IN_FLIGHT / 2; // two loads each
    const uint64_t tile = static_cast<uint64_t>(blockDim.x) * EACH;
    const uint4 *left = reinterpret_cast<const uint4 *>(b), *right = reinterpret_cast<const uint4 *>(c);
    for (uint64_t at = blockIdx.x * tile; at < count; at += gridDim.x * tile) {
        const uint64_t first = at + threadIdx.x;
        if (at + tile <= count) {
            uint4 v[EACH], w[EACH];
#pragma unroll
            for (uint32_t i = 0; i < EACH; i++) {
                v[i] = load_once(left + first + i * blockDim.x);
                w[i] = load_once(right + first + i * blockDim.x);
            }
#pragma unroll
            for (uint32_t i = 0; i < EACH; i++) {
                a[first + i * blockDim.x] = triad(v[i], s, w[i]);
            }
        } else {
            for (uint64_t i = first; i < count; i += blockDim.x) {
                a[i] = triad(load_once(left + i), s, load_once(right + i));
            }
        }
    }
}
KERNEL(triad_bandwidth)

extern "C" __global__ void __launch_bounds__(256)
    l2_bandwidth(const uint4 *__restrict__ in, uint64_t count, uint32_t rounds, uint32_t *__restrict__ out) {
    uint32_t word = 0;
    for (uint32_t round = 0; round < rounds; round++) {
        // Another share in each round: an SM is nearer to one part of the cache than to another.
        word ^= xor_of_share<load_past_l1>(in, count, (blockIdx.x + static_cast<uint64_t>(round)) % gridDim.x);
    }
    write_block_xor(word, out);
}
KERNEL(l2_bandwidth)

DEVICE uint32_t random_word(uint64_t at, uint32_t seed) {
    return mix(static_cast<uint32_t>(at) ^ mix(seed + static_cast<uint32_t>(at >> 32)));
}

extern "C" __global__ void __launch_bounds__(256) fill_random(uint32_t *__restrict__ out, uint64_t words,
                                                              uint32_t seed) {
    const uint64_t stride = static_cast<uint64_t>(gridDim.x) * blockDim.x;
    for (uint64_t i = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < words; i += stride) {
        out[i] = random_word(i, seed);
    }
}
KERNEL(fill_random)

// Uniform in [-scale, scale).
template <typename T> DEVICE void fill_uniform(uint32_t *out, uint64_t words, uint32_t seed, float scale) {
    const uint64_t stride = static_cast<uint64_t>(gridDim.x) * blockDim.x;
    const float unit = scale * (1.0f / 32768.0f);
    for (uint64_t i = static_cast<uint64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < words; i += stride) {
        const int word = static_cast<int>(random_word(i, seed));
        const int low = word << 16 >> 16, high = word >> 16;
        out[i] = pack_two<T>(static_cast<float>(low) * unit, static_cast<float>(high) * unit);
    }
}
extern "C" __global__ void __launch_bounds__(256) fill_f16(uint32_t *out, uint64_t words, uint32_t seed, float scale) {
    fill_uniform<F16>(out, words, seed, scale);
}
KERNEL(fill_f16)
extern "C" __global__ void __launch_bounds__(256) fill_bf16(uint32_t *out, uint64_t words, uint32_t seed, float scale) {
    fill_uniform<BF16>(out, words, seed, scale);
}
KERNEL(fill_bf16)
