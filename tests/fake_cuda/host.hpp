// Plays a GPU on the CPU, so that the kernels of kernels/ can be run and checked where there is none: each thread of a
// block is a fiber, blocks run one after the other, and collective instructions wait for their threads. It says
// nothing of speed.
#pragma once
#include <cassert>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>
#include <algorithm>
#include <array>
#include <csetjmp>
#include <ucontext.h>

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) uint4 { uint32_t x, y, z, w; };
struct alignas(16) int4 { int32_t x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { uint32_t x, y; };
struct alignas(8) int2 { int32_t x, y; };
struct alignas(8) float2 { float x, y; };
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

namespace fake {

struct Fiber {
    // Where it goes on. A switch saves registers only: `swapcontext` would ask the system for the signal mask each time.
    std::jmp_buf place;
    bool begun = false;
    std::vector<char> stack;
    dim3 thread;
    bool done = false;
    // The rendezvous it waits at: 0 none, 1 block, 2 warp.
    int waits = 0;
};

struct Block {
    // One of a kind for as long as the process lives: a fiber runs the thread of its number of every block.
    std::vector<Fiber> fibers = std::vector<Fiber>(1024);
    std::jmp_buf scheduler;
    size_t current = 0;
    size_t count = 0;
    std::function<void()> body;
};

// One block at a time, in one thread at a time (the fake driver holds a lock while it launches).
inline Block block;
inline dim3 thread_index, block_index, block_size, grid_size;
inline std::vector<unsigned char> shared_memory(256 * 1024 + 1024);
inline unsigned char *dynamic_shared() {
    auto at = reinterpret_cast<uintptr_t>(shared_memory.data());
    return shared_memory.data() + (1024 - at % 1024) % 1024;
}

inline void yield() {
    if (_setjmp(block.fibers[block.current].place) == 0) _longjmp(block.scheduler, 1);
}
inline void enter() {
    for (;;) {
        block.body();
        block.fibers[block.current].done = true;
        yield();
    }
}
inline void wait(int kind) {
    block.fibers[block.current].waits = kind;
    while (block.fibers[block.current].waits != 0) yield();
}

// Lets the fiber run until it waits or is done.
inline void resume(Fiber &fiber) {
    if (_setjmp(block.scheduler) != 0) return;
    if (fiber.begun) _longjmp(fiber.place, 1);
    fiber.begun = true;
    fiber.stack.resize(256 * 1024);
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = fiber.stack.data();
    context.uc_stack.ss_size = fiber.stack.size();
    context.uc_link = nullptr;
    makecontext(&context, reinterpret_cast<void (*)()>(enter), 0);
    setcontext(&context);
}

// Lets those pass whose rendezvous is complete.
inline void release() {
    bool all = true;
    for (size_t i = 0; i < block.count; i++) all &= block.fibers[i].done || block.fibers[i].waits == 1;
    for (size_t warp = 0; warp < block.count; warp += 32) {
        bool here = true;
        size_t end = std::min(warp + 32, block.count);
        for (size_t i = warp; i < end; i++) here &= block.fibers[i].done || block.fibers[i].waits == 2;
        for (size_t i = warp; here && i < end; i++) block.fibers[i].waits = 0;
    }
    for (size_t i = 0; all && i < block.count; i++) block.fibers[i].waits = 0;
}

inline void run_block() {
    for (size_t i = 0; i < block.count; i++) {
        Fiber &fiber = block.fibers[i];
        fiber.done = false;
        fiber.waits = 0;
        fiber.thread = dim3(i % block_size.x, i / block_size.x % block_size.y, i / block_size.x / block_size.y);
    }
    for (;;) {
        bool moved = false, left = false;
        for (size_t i = 0; i < block.count; i++) {
            if (block.fibers[i].done) continue;
            left = true;
            if (block.fibers[i].waits != 0) continue;
            moved = true;
            block.current = i;
            thread_index = block.fibers[i].thread;
            resume(block.fibers[i]);
        }
        if (!left) return;
        if (!moved) {
            size_t before = 0, after = 0;
            for (size_t i = 0; i < block.count; i++) before += block.fibers[i].waits != 0;
            release();
            for (size_t i = 0; i < block.count; i++) after += block.fibers[i].waits != 0;
            if (before == after) {
                std::fprintf(stderr, "fake_cuda: threads of a block wait for each other for ever\n");
                std::abort();
            }
        }
    }
}

inline void launch(dim3 grid, dim3 threads, size_t shared, const std::function<void()> &body) {
    grid_size = grid;
    block_size = threads;
    block.count = static_cast<size_t>(threads.x) * threads.y * threads.z;
    block.body = body;
    for (unsigned z = 0; z < grid.z; z++)
        for (unsigned y = 0; y < grid.y; y++)
            for (unsigned x = 0; x < grid.x; x++) {
                block_index = dim3(x, y, z);
                // Shared memory holds nothing that a kernel may count on.
                std::memset(dynamic_shared(), 0xff, shared);
                run_block();
            }
}

// A kernel as the driver sees it: pointers to its arguments.
struct Entry {
    std::function<void(dim3, dim3, size_t, void **)> launch;
    std::vector<size_t> sizes;
};
inline std::map<std::string, Entry> &kernels() {
    static std::map<std::string, Entry> all;
    return all;
}
template <typename... A, size_t... I>
void call(void (*kernel)(A...), dim3 grid, dim3 threads, size_t shared, void **args, std::index_sequence<I...>) {
    std::tuple<A...> values(*static_cast<std::remove_reference_t<A> *>(args[I])...);
    launch(grid, threads, shared, [&] { std::apply(kernel, values); });
}
template <typename... A> bool add(const char *name, void (*kernel)(A...)) {
    kernels()[name] = Entry{[=](dim3 grid, dim3 threads, size_t shared, void **args) {
                                call(kernel, grid, threads, shared, args, std::index_sequence_for<A...>());
                            },
                            {sizeof(A)...}};
    return true;
}

inline size_t lane() { return block.current % 32; }
inline size_t first_of_warp() { return block.current / 32 * 32; }

// Every lane of the warp brings `value` and sees what all brought.
template <typename T> std::array<T, 32> gather(const T &value) {
    static_assert(sizeof(T) <= 64);
    static std::vector<std::array<unsigned char, 64>> slots(1024);
    std::memcpy(slots[block.current].data(), &value, sizeof(T));
    wait(2);
    std::array<T, 32> all{};
    size_t first = first_of_warp();
    for (size_t i = 0; i < 32 && first + i < block.count; i++) {
        std::memcpy(static_cast<void *>(&all[i]), slots[first + i].data(), sizeof(T));
    }
    wait(2);
    return all;
}

} // namespace fake

#define threadIdx fake::thread_index_now()
#define blockIdx fake::block_index
#define blockDim fake::block_size
#define gridDim fake::grid_size
namespace fake {
inline dim3 &thread_index_now() { return block.fibers[block.current].thread; }
}

#define __global__
#define __device__
#define __shared__ static
#define __constant__ static
#define __restrict__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define DEVICE static inline
#define DEVICE_MEMBER inline
#define KERNEL(name) static const bool registered_##name = fake::add(#name, name);
#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(fake::dynamic_shared())
// What the newest target has, so that every path can be run.
#define __CUDA_ARCH__ 890

inline void __syncthreads() { fake::wait(1); }
inline void __syncwarp(unsigned = 0xffffffffu) { fake::wait(2); }
inline void __threadfence() {}
inline void __threadfence_block() {}
template <typename T> T __shfl_sync(unsigned, T value, int from) { return fake::gather(value)[from & 31]; }
template <typename T> T __shfl_xor_sync(unsigned, T value, int lanes) {
    return fake::gather(value)[fake::lane() ^ lanes];
}
template <typename T> T __shfl_down_sync(unsigned, T value, int by) {
    size_t from = fake::lane() + by;
    auto all = fake::gather(value);
    return from < 32 ? all[from] : value;
}
template <typename T> T __shfl_up_sync(unsigned, T value, int by) {
    auto all = fake::gather(value);
    return static_cast<int>(fake::lane()) >= by ? all[fake::lane() - by] : value;
}
inline unsigned __ballot_sync(unsigned, int predicate) {
    unsigned bits = 0;
    auto all = fake::gather(predicate);
    for (size_t i = 0; i < 32; i++) bits |= (all[i] != 0 ? 1u : 0u) << i;
    return bits;
}
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == 0xffffffffu; }
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
template <typename T> T atomicAdd(T *at, T value) { T old = *at; *at += value; return old; }
template <typename T> T atomicMax(T *at, T value) { T old = *at; *at = std::max(old, value); return old; }
template <typename T> T atomicOr(T *at, T value) { T old = *at; *at |= value; return old; }
template <typename T> T atomicExch(T *at, T value) { T old = *at; *at = value; return old; }
template <typename T> T __ldg(const T *at) { return *at; }
inline long long clock64() { static long long ticks = 0; return ticks += 100; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
using std::max;
using std::min;

template <typename To, typename From> To fake_bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &value, sizeof(To));
    return to;
}
inline float float_of_bits(uint32_t bits) { return fake_bits<float>(bits); }
inline uint32_t bits_of_float(float value) { return fake_bits<uint32_t>(value); }
inline float __uint_as_float(uint32_t bits) { return fake_bits<float>(bits); }
inline uint32_t __float_as_uint(float value) { return fake_bits<uint32_t>(value); }
inline int __float_as_int(float value) { return fake_bits<int>(value); }
inline float __int_as_float(int bits) { return fake_bits<float>(bits); }
inline float float_of_f16(uint16_t bits) { return static_cast<float>(fake_bits<_Float16>(bits)); }
inline uint16_t f16_of_float(float value) { return fake_bits<uint16_t>(static_cast<_Float16>(value)); }
inline int dot4(int a, int b, int sum) {
    for (int i = 0; i < 4; i++) sum += static_cast<int8_t>(a >> 8 * i) * static_cast<int8_t>(b >> 8 * i);
    return sum;
}
// Fused multiply-add of both halves. The double is exact but for sums that span over 53 bits.
inline uint32_t fma_f16x2(uint32_t a, uint32_t b, uint32_t c) {
    auto one = [](uint32_t a, uint32_t b, uint32_t c) -> uint32_t {
        double sum = std::fma(double(float_of_f16(a)), double(float_of_f16(b)), double(float_of_f16(c)));
        return fake_bits<uint16_t>(static_cast<_Float16>(sum));
    };
    return one(a & 0xffff, b & 0xffff, c & 0xffff) | one(a >> 16, b >> 16, c >> 16) << 16;
}
inline uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
    auto one = [](uint32_t a, uint32_t b, uint32_t c) -> uint32_t {
        auto number = [](uint32_t bits) { return double(float_of_bits(bits << 16)); };
        double sum = std::fma(number(a), number(b), number(c));
        // To f32 by rounding to odd, so that the second rounding sees what the first dropped.
        float near = static_cast<float>(sum);
        uint32_t bits = bits_of_float(near);
        if (double(near) != sum) bits = (std::fabs(double(near)) > std::fabs(sum) ? bits - 1 : bits) | 1;
        return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    };
    return one(a & 0xffff, b & 0xffff, c & 0xffff) | one(a >> 16, b >> 16, c >> 16) << 16;
}
inline float exp2_fast(float x) { return std::exp2(x); }
inline uint4 load_once(const uint4 *at) {
    assert(reinterpret_cast<uintptr_t>(at) % 16 == 0);
    return *at;
}
inline uint4 load_past_l1(const uint4 *at) { return load_once(at); }
inline uint32_t load_past_l1(const uint32_t *at) { return *at; }
inline void copy_async(void *to, const void *from) {
    assert(reinterpret_cast<uintptr_t>(to) % 16 == 0 && reinterpret_cast<uintptr_t>(from) % 16 == 0);
    std::memcpy(to, from, 16);
}
inline void copy_async_or_zero(void *to, const void *from, bool there) {
    if (there) return copy_async(to, from);
    assert(reinterpret_cast<uintptr_t>(to) % 16 == 0);
    std::memset(to, 0, 16);
}
inline void copy_async_commit() {}
template <int left> void copy_async_wait() {}

namespace fake {
inline void matrices(uint32_t r[4], const void *row, bool transposed) {
    assert(reinterpret_cast<uintptr_t>(row) % 16 == 0);
    auto rows = gather(row);
    for (int matrix = 0; matrix < 4; matrix++) {
        uint16_t pair[2];
        for (int i = 0; i < 2; i++) {
            int row = lane() / 4, col = lane() % 4 * 2 + i;
            if (transposed) std::swap(row, col);
            std::memcpy(&pair[i], static_cast<const char *>(rows[matrix * 8 + row]) + 2 * col, 2);
        }
        r[matrix] = pair[0] | static_cast<uint32_t>(pair[1]) << 16;
    }
}

// mma.m16n8k*: registers hold numbers of `bits` bits; k = 256 / bits.
// Row of a: lane / 4 (+ 8 in odd registers); columns: 32 / bits from (lane % 4) * 32 / bits (+ k / 2 in registers 2, 3).
template <typename D, typename Load> void mma(D d[4], const uint32_t a[4], const uint32_t b[2], int bits, Load load) {
    struct Fragments { uint32_t a[4], b[2]; } own;
    std::memcpy(own.a, a, 16);
    std::memcpy(own.b, b, 8);
    auto all = gather(own);
    int each = 32 / bits, k = 8 * each;
    auto number = [&](uint32_t word, int i) {
        uint32_t mask = bits == 32 ? 0xffffffffu : (1u << bits) - 1;
        return load(word >> (i * bits) & mask);
    };
    for (int i = 0; i < 4; i++) {
        int row = lane() / 4 + (i / 2) * 8, col = lane() % 4 * 2 + i % 2;
        D sum = 0;
        for (int at = 0; at < k; at++) {
            int half = at / (k / 2), within = at % (k / 2);
            const Fragments &left = all[row % 8 * 4 + within / each];
            const Fragments &right = all[col * 4 + within / each];
            sum += static_cast<D>(number(left.a[row / 8 + 2 * half], within % each)) *
                   static_cast<D>(number(right.b[half], within % each));
        }
        d[i] += sum;
    }
}
inline float e4m3(uint32_t bits) {
    int sign = bits & 0x80 ? -1 : 1, exponent = bits >> 3 & 15, mantissa = bits & 7;
    if (exponent == 15 && mantissa == 7) return NAN;
    return sign * (exponent == 0 ? std::ldexp(mantissa / 8.0f, -6) : std::ldexp(1 + mantissa / 8.0f, exponent - 7));
}
} // namespace fake

inline void load_matrices(uint32_t r[4], const void *row) { fake::matrices(r, row, false); }
inline void load_matrices_transposed(uint32_t r[4], const void *row) { fake::matrices(r, row, true); }
inline void mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    fake::mma(d, a, b, 16, [](uint32_t v) { return float_of_f16(v); });
}
inline void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    fake::mma(d, a, b, 16, [](uint32_t v) { return float_of_bits(v << 16); });
}
inline void mma_tf32(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    fake::mma(d, a, b, 32, [](uint32_t v) { return float_of_bits(v & 0xffffe000u); });
}
inline void mma_s8(int d[4], const uint32_t a[4], const uint32_t b[2]) {
    fake::mma(d, a, b, 8, [](uint32_t v) { return static_cast<int>(static_cast<int8_t>(v)); });
}
inline void mma_s4(int d[4], const uint32_t a[4], const uint32_t b[2]) {
    fake::mma(d, a, b, 4, [](uint32_t v) { return static_cast<int>(v ^ 8) - 8; });
}
inline void mma_e4m3(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    fake::mma(d, a, b, 8, [](uint32_t v) { return fake::e4m3(v); });
}
inline void mma_f16_k8(float d[4], const uint32_t a[2], uint32_t b) {
    struct Fragments { uint32_t a[2], b; } own = {{a[0], a[1]}, b};
    auto all = fake::gather(own);
    for (int i = 0; i < 4; i++) {
        int row = fake::lane() / 4 + (i / 2) * 8, col = fake::lane() % 4 * 2 + i % 2;
        for (int at = 0; at < 8; at++) {
            uint32_t left = all[row % 8 * 4 + at / 2].a[row / 8], right = all[col * 4 + at / 2].b;
            d[i] += float_of_f16(left >> 16 * (at % 2)) * float_of_f16(right >> 16 * (at % 2));
        }
    }
}

// wgmma: products of a warpgroup with both operands in shared memory, named by descriptors as the PTX ISA lays them out:
// start address, leading and stride byte offset (each >> 4) from bits 0, 16 and 32, swizzle in bits 62 and 63.
inline uint32_t shared_address(const void *pointer) {
    auto at = static_cast<const unsigned char *>(pointer) - fake::dynamic_shared();
    assert(at >= 0 && at < 256 * 1024);
    return static_cast<uint32_t>(at);
}
namespace fake {
// Byte `k` of row `row` of an operand that is contiguous along k.
inline const unsigned char *in_tile(uint64_t descriptor, uint32_t row, uint32_t k) {
    uint32_t start = (descriptor & 0x3fff) << 4, leading = (descriptor >> 16 & 0x3fff) << 4;
    uint32_t stride = (descriptor >> 32 & 0x3fff) << 4, swizzle = descriptor >> 62;
    uint32_t at;
    if (swizzle == 0) { // core matrices of 8 rows x 16 bytes, each of 128 bytes in a row
        at = start + row / 8 * stride + k / 16 * leading + row % 8 * 16 + k % 16;
    } else {
        assert(swizzle == 1); // rows of 128 bytes; bits 4 to 6 of the address are crossed with bits 7 to 9
        at = start + row / 8 * stride + row % 8 * 128 + k;
        at ^= (at >> 7 & 7) << 4;
    }
    return dynamic_shared() + at;
}
// d(64 x 256) += a(64 x k) b(k x 256), of which a thread holds 128 sums; k is 32 bytes.
template <typename D, typename T, typename Load> void wgmma(D d[128], uint64_t a, uint64_t b, Load load) {
    uint32_t thread = block.current % 128;
    for (int i = 0; i < 128; i++) {
        uint32_t row = thread / 32 * 16 + lane() / 4 + i / 2 % 2 * 8, col = i / 4 * 8 + lane() % 4 * 2 + i % 2;
        for (uint32_t k = 0; k < 32; k += sizeof(T)) {
            T left, right;
            std::memcpy(&left, in_tile(a, row, k), sizeof(T));
            std::memcpy(&right, in_tile(b, col, k), sizeof(T));
            d[i] += static_cast<D>(load(left)) * static_cast<D>(load(right));
        }
    }
}
} // namespace fake
inline void fence_async_proxy() {}
inline void wgmma_fence() {}
inline void wgmma_commit() {}
template <int left> void wgmma_wait() {}
inline void wgmma_f16(float d[128], uint64_t a, uint64_t b) {
    fake::wgmma<float, uint16_t>(d, a, b, [](uint16_t v) { return float_of_f16(v); });
}
inline void wgmma_bf16(float d[128], uint64_t a, uint64_t b) {
    fake::wgmma<float, uint16_t>(d, a, b, [](uint16_t v) { return float_of_bits(static_cast<uint32_t>(v) << 16); });
}
inline void wgmma_e4m3(float d[128], uint64_t a, uint64_t b) {
    fake::wgmma<float, uint8_t>(d, a, b, [](uint8_t v) { return fake::e4m3(v); });
}
inline void wgmma_s8(int d[128], uint64_t a, uint64_t b) {
    fake::wgmma<int, int8_t>(d, a, b, [](int8_t v) { return static_cast<int>(v); });
}
