// Running sums along one axis.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"
#include "tandem/ops/support/axis_split.h"

namespace tandem::reference {

// y_t = sum over s <= t of f(x_s),  for x seen as (outer, count, inner) with the axis in the middle
template <class F>
Tensor running_sum(const Tensor& x, int axis, const F& f) {
  const auto [outer, count, inner] = split_at(x.shape(), axis);
  Tensor y(x.shape(), DType::f64);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t t = 0; t < count; ++t)
      for (int64_t i = 0; i < inner; ++i) {
        double sum = 0;
        for (int64_t s = 0; s <= t; ++s) sum += f(x.data<double>()[(o * count + s) * inner + i]);
        y.data<double>()[(o * count + t) * inner + i] = sum;
      }
  return y;
}

// y_t = sum over s <= t of x_s
inline Tensor cumsum(const Tensor& x, int axis) {
  return running_sum(x, axis, [](double value) { return value; });
}

// y_t = log sum over s <= t of e^{x_s}
inline Tensor logcumsumexp(const Tensor& x, int axis) {
  Tensor y = running_sum(x, axis, [](double value) { return std::exp(value); });
  for (int64_t i = 0; i < y.numel(); ++i) y.data<double>()[i] = std::log(y.data<double>()[i]);
  return y;
}

}  // namespace tandem::reference
