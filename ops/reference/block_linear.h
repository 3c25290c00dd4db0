// The product with a block-diagonal matrix, block by block.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem::reference {

// x (..., G in), weight (G, out, in):  y[..., g out + i] = sum over j of weight[g, i, j] x[..., g in + j]
inline Tensor block_linear(const Tensor& x, const Tensor& weight) {
  const int64_t blocks = weight.size(0), out = weight.size(1), in = weight.size(2);
  Tensor y(x.shape().with(-1, blocks * out), DType::f64);
  for (int64_t row = 0; row < x.numel() / (blocks * in); ++row)
    for (int64_t g = 0; g < blocks; ++g)
      for (int64_t i = 0; i < out; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < in; ++j)
          sum +=
              weight.data<double>()[(g * out + i) * in + j] * x.data<double>()[(row * blocks + g) * in + j];
        y.data<double>()[(row * blocks + g) * out + i] = sum;
      }
  return y;
}

}  // namespace tandem::reference
