// Each row divided by its root mean square.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"

namespace tandem::reference {

// x (..., D), gain (D):  y_j = x_j / sqrt(mean over k of x_k^2 + eps) gain_j
inline Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps) {
  const int64_t n = gain.numel();
  Tensor y(x.shape(), DType::f64);
  for (int64_t row = 0; row < x.numel(); row += n) {
    double squares = 0;
    for (int64_t j = 0; j < n; ++j) squares += x.data<double>()[row + j] * x.data<double>()[row + j];
    const double root = std::sqrt(squares / static_cast<double>(n) + eps);
    for (int64_t j = 0; j < n; ++j)
      y.data<double>()[row + j] = x.data<double>()[row + j] / root * gain.data<double>()[j];
  }
  return y;
}

}  // namespace tandem::reference
