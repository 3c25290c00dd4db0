// Rows of the leading axis.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem::reference {

// x (N, ...) to (end - begin, ...):  y[i, ...] = x[begin + i, ...]
inline Tensor slice(const Tensor& x, int64_t begin, int64_t end) {
  const int64_t width = x.shape().tail().numel();
  Tensor y(x.shape().with(0, end - begin), DType::f64);
  for (int64_t i = 0; i < y.numel(); ++i) y.data<double>()[i] = x.data<double>()[begin * width + i];
  return y;
}

}  // namespace tandem::reference
