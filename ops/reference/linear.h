// y = x W^T + b.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem::reference {

// x (..., I), weight (O, I), bias (O) or undefined, to (..., O):
//
//     y[r, o] = bias[o] + sum over i of x[r, i] weight[o, i]
inline Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const int64_t in = weight.size(1), out = weight.size(0), rows = x.numel() / in;
  Tensor y(x.shape().with(-1, out), DType::f64);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < out; ++o) {
      double sum = bias.defined() ? bias.data<double>()[o] : 0;
      for (int64_t i = 0; i < in; ++i)
        sum += x.data<double>()[r * in + i] * weight.data<double>()[o * in + i];
      y.data<double>()[r * out + o] = sum;
    }
  return y;
}

}  // namespace tandem::reference
