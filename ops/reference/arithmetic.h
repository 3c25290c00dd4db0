// y = f(a, b) element by element, where b is repeated over a.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem::reference {

//     y_i = f(a_i, b_{i mod N})        with N the number of elements of b, which is a's or fits into it
inline Tensor elementwise(const Tensor& a, const Tensor& b, double (*f)(double, double)) {
  Tensor y(a.shape(), DType::f64);
  for (int64_t i = 0; i < a.numel(); ++i)
    y.data<double>()[i] = f(a.data<double>()[i], b.data<double>()[i % b.numel()]);
  return y;
}

}  // namespace tandem::reference
