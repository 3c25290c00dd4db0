// Reference of cast.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem::reference {

// Returns the elements of x, which f64 holds exactly whatever their dtype.
inline Tensor cast_to_f64(const Tensor& x) {
  Tensor y(x.shape(), DType::f64);
  for (int64_t i = 0; i < x.numel(); ++i) y.data<double>()[i] = x.data<double>()[i];
  return y;
}

}  // namespace tandem::reference
