// Elements kept and scaled, or set to zero, as the random word of each index says.
#pragma once
#include "tandem/core/tensor.h"
#include "tandem/ops/dropout.h"

namespace tandem::reference {

// Element i of a mask: 1 / (1 - p) if it is kept, else 0.
inline double dropout_factor(int64_t i, double p, DropoutKey key) {
  return dropout_word(key, i) >= keep_threshold(p) ? 1 / (1 - p) : 0;
}

//     y_i = x_i mask_{i mod period}        period: x's number of elements, or that of one time step (variational)
inline Tensor dropout(const Tensor& x, int64_t period, double p, DropoutKey key) {
  Tensor y(x.shape(), DType::f64);
  for (int64_t i = 0; i < x.numel(); ++i)
    y.data<double>()[i] = x.data<double>()[i] * dropout_factor(i % period, p, key);
  return y;
}

}  // namespace tandem::reference
