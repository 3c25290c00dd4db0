// The same elements under another shape.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem::reference {

//     y_i = x_i        in row-major order
inline Tensor reshape(const Tensor& x, const Shape& shape) {
  Tensor y(shape, DType::f64);
  for (int64_t i = 0; i < y.numel(); ++i) y.data<double>()[i] = x.data<double>()[i];
  return y;
}

}  // namespace tandem::reference
