// The largest element along one axis.
#pragma once
#include <algorithm>

#include "tandem/core/tensor.h"
#include "tandem/ops/support/axis_split.h"

namespace tandem::reference {

// y = max over k of x_k,  for x seen as (outer, count, inner) with the axis in the middle
inline Tensor max(const Tensor& x, int axis) {
  const auto [outer, count, inner] = split_at(x.shape(), axis);
  Tensor y(without_axis(x.shape(), axis), DType::f64);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      double largest = x.data<double>()[o * count * inner + i];
      for (int64_t k = 1; k < count; ++k)
        largest = std::max(largest, x.data<double>()[(o * count + k) * inner + i]);
      y.data<double>()[o * inner + i] = largest;
    }
  return y;
}

}  // namespace tandem::reference
