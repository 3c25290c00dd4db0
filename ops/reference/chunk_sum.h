// The sum of the chunks that the last axis is cut into.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem::reference {

// x (..., N) to (..., width):  y_j = sum over k of x_{k width + j},  over the floor(N / width) whole chunks.
inline Tensor chunk_sum(const Tensor& x, int64_t width) {
  const int64_t n = x.size(-1), rows = x.numel() / n;
  const Tensor y = zeros(x.shape().with(-1, width), DType::f64);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t k = 0; k < n / width; ++k)
      for (int64_t j = 0; j < width; ++j)
        y.data<double>()[row * width + j] += x.data<double>()[row * n + k * width + j];
  return y;
}

}  // namespace tandem::reference
