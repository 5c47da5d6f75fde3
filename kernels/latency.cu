// Latency of a load and of a launch.
//
// pointer_chase: one thread follows at = next[at], `steps` times, each load waiting for the one before it. The time of
// a step is the difference of two launches over the difference of their steps, which leaves the launch out; it holds a
// few cycles of address arithmetic besides the load. A chain through a set smaller than the second cache measures that
// cache, through a much larger one device memory (and the tables of address translation, once it outgrows them).
// `next` must be one cycle in random order, its used elements at least a line (128 bytes) apart. *last is where the
// chain stands after the last step.
//
// empty: does nothing; the time between two of them in a row is the cost of a launch.
//
// Launch: one block of one thread.
// targets: 70
#include "common.cuh"

extern "C" __global__ void pointer_chase(const uint32_t *__restrict__ next, uint32_t start, uint32_t steps,
                                         uint32_t *__restrict__ last) {
    uint32_t at = start;
#pragma unroll 8
    for (uint32_t step = 0; step < steps; step++) {
        at = load_past_l1(next + at);
    }
    *last = at;
}
KERNEL(pointer_chase)

extern "C" __global__ void empty() {}
KERNEL(empty)
