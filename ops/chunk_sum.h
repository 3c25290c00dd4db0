// chunk_sum: the sum of the chunks that the last axis is cut into, SHA-RNN's "boom", (..., N) to (..., width).
//
// After an activation it replaces the second matrix of a feed-forward layer. Merity, "Single Headed Attention
// RNN: Stop Thinking With Your Head" (2019).
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Computes y_j = x_j + x_{width + j} + x_{2 width + j} + ... over the floor(N / width) whole chunks of x (...,
// N). Elements after the last whole chunk are dropped, and their gradient is 0. Error: x is not floating; width
// < 1 or > N.
Tensor chunk_sum(const Tensor& x, int64_t width);

namespace cpu {
void chunk_sum_forward(const Tensor& y, const Tensor& x);
void chunk_sum_backward(const Tensor& dx, const Tensor& dy);
}  // namespace cpu

namespace cuda {
void chunk_sum_forward(const Tensor& y, const Tensor& x);
void chunk_sum_backward(const Tensor& dx, const Tensor& dy);
}  // namespace cuda

}  // namespace tandem
