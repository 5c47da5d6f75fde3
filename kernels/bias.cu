// Adds a vector to each row of a matrix of 16-bit numbers: the biases of a product that a library made.
//
// Bytes: 4 * rows * cols and the vector. Launch: a block of 256 threads for each row.
// targets: 70
#include "common.cuh"

template <typename T> DEVICE void add_bias(uint16_t *y, const uint16_t *bias, uint32_t cols) {
    uint16_t *row = y + static_cast<uint64_t>(blockIdx.x) * cols;
    for (uint32_t col = threadIdx.x; col < cols; col += blockDim.x) {
        row[col] = T::store(T::load(row[col]) + T::load(bias[col]));
    }
}

extern "C" __global__ void add_bias_f16(uint16_t *y, const uint16_t *bias, uint32_t cols) {
    add_bias<F16>(y, bias, cols);
}
KERNEL(add_bias_f16)

extern "C" __global__ void add_bias_bf16(uint16_t *y, const uint16_t *bias, uint32_t cols) {
    add_bias<BF16>(y, bias, cols);
}
KERNEL(add_bias_bf16)
