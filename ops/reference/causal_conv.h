// A filter over time for each channel, which sees no later step.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem::reference {

// x (T, B, C), weight (C, K), bias (C) or undefined, prefix (K - 1, B, C) or undefined, to (T, B, C):
//
//     y[t, b, c] = bias[c] + sum over k = 0..K-1 of  weight[c, k] x[t - K + 1 + k, b, c]
//
// The steps before 0 are those of the prefix, or zeros.
inline Tensor causal_conv(const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& prefix) {
  const int64_t steps = x.size(0), row = x.size(1) * x.size(2), channels = x.size(2), taps = weight.size(1);
  Tensor y(x.shape(), DType::f64);
  for (int64_t t = 0; t < steps; ++t)
    for (int64_t i = 0; i < row; ++i) {
      const int64_t c = i % channels;
      double sum = bias.defined() ? bias.data<double>()[c] : 0;
      for (int64_t k = 0; k < taps; ++k) {
        const int64_t from = t - taps + 1 + k;
        double value = 0;
        if (from >= 0) value = x.data<double>()[from * row + i];
        if (from < 0 && prefix.defined()) value = prefix.data<double>()[(from + taps - 1) * row + i];
        sum += weight.data<double>()[c * taps + k] * value;
      }
      y.data<double>()[t * row + i] = sum;
    }
  return y;
}

}  // namespace tandem::reference
