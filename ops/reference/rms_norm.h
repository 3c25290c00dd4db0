// Rows divided by their root mean square, one row at a time.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"

namespace tandem::reference {

// x (..., D), gain (D) or undefined for 1:  y = x / sqrt(mean(x^2) + eps) gain
inline Tensor rms_norm(const Tensor& x, const Tensor& gain, double eps) {
  const int64_t n = x.size(-1);
  Tensor y(x.shape(), DType::f64);
  for (int64_t row = 0; row < x.numel() / n; ++row) {
    const double* in = x.data<double>() + row * n;
    double squares = 0;
    for (int64_t j = 0; j < n; ++j) squares += in[j] * in[j];
    const double root = std::sqrt(squares / static_cast<double>(n) + eps);
    for (int64_t j = 0; j < n; ++j)
      y.data<double>()[row * n + j] = in[j] / root * (gain.defined() ? gain.data<double>()[j] : 1);
  }
  return y;
}

}  // namespace tandem::reference
