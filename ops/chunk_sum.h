// chunk_sum: the sum of the chunks that the last axis is cut into. After an activation it takes the place of
// the second matrix of a feed-forward layer: the "boom" of Merity, "Single Headed Attention RNN" (2019).
#pragma once
#include "core/tensor.h"

namespace tandem {

// x (..., N) to (..., width): y_j = x_j + x_{width + j} + x_{2 width + j} + ... over the chunks that N has
// room for. A rest that does not fill a chunk is dropped, and its gradient is 0. Error: x is not floating or
// has no chunk.
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
