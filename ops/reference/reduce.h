// The sum over all elements, or over one axis.
#pragma once
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem::reference {

inline double sum(const Tensor& x) {
  double total = 0;
  for (int64_t i = 0; i < x.numel(); ++i) total += x.data<double>()[i];
  return total;
}

// x as (outer, count, inner), the middle being `axis`:  y[o, i] = factor * sum over k of x[o, k, i]
inline Tensor sum_axis(const Tensor& x, int axis, double factor) {
  const int64_t count = x.size(axis);
  int64_t outer = 1, inner = 1;
  std::vector<int64_t> sizes;
  for (int a = 0; a < x.rank(); ++a) {
    if (a == axis) continue;
    (a < axis ? outer : inner) *= x.size(a);
    sizes.push_back(x.size(a));
  }
  const Tensor y = zeros(Shape(std::span<const int64_t>(sizes)), DType::f64);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t k = 0; k < count; ++k)
      for (int64_t i = 0; i < inner; ++i)
        y.data<double>()[o * inner + i] += factor * x.data<double>()[(o * count + k) * inner + i];
  return y;
}

}  // namespace tandem::reference
