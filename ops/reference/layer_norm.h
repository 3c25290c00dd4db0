// Each row brought to mean 0 and variance 1, then scaled and shifted.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"

namespace tandem::reference {

// x (..., D), gain and bias (D), with the mean and the variance of each row:
//
//     y = (x - mean) / sqrt(variance + eps) * gain + bias
inline Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps) {
  const int64_t n = gain.numel(), rows = x.numel() / n;
  const double count = static_cast<double>(n);
  Tensor y(x.shape(), DType::f64);
  for (int64_t i = 0; i < rows; ++i) {
    const double* row = x.data<double>() + i * n;
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < n; ++j) mean += row[j] / count;
    for (int64_t j = 0; j < n; ++j) variance += (row[j] - mean) * (row[j] - mean) / count;
    for (int64_t j = 0; j < n; ++j)
      y.data<double>()[i * n + j] =
          (row[j] - mean) / std::sqrt(variance + eps) * gain.data<double>()[j] + bias.data<double>()[j];
  }
  return y;
}

// layer_norm(q + alpha a)
inline Tensor residual_layer_norm(const Tensor& q, const Tensor& a, double alpha, const Tensor& gain,
                                  const Tensor& bias, double eps) {
  Tensor x(q.shape(), DType::f64);
  for (int64_t i = 0; i < q.numel(); ++i)
    x.data<double>()[i] = q.data<double>()[i] + alpha * a.data<double>()[i];
  return layer_norm(x, gain, bias, eps);
}

}  // namespace tandem::reference
