// Two axes exchanged.
#pragma once
#include <array>
#include <utility>

#include "tandem/core/tensor.h"

namespace tandem::reference {

// y[..., j, ..., i, ...] = x[..., i, ..., j, ...],  for axes a and b, both counted from 0
inline Tensor transpose(const Tensor& x, int a, int b) {
  const Shape& from = x.shape();
  Tensor y(from.with(a, from[b]).with(b, from[a]), DType::f64);
  for (int64_t at = 0; at < x.numel(); ++at) {
    std::array<int64_t, Shape::kMaxRank> index{};
    for (int64_t axis = from.rank() - 1, rest = at; axis >= 0; rest /= from[static_cast<int>(axis--)])
      index[axis] = rest % from[static_cast<int>(axis)];
    std::swap(index[a], index[b]);
    int64_t to = 0;
    for (int axis = 0; axis < from.rank(); ++axis) to = to * y.size(axis) + index[axis];
    y.data<double>()[to] = x.data<double>()[at];
  }
  return y;
}

}  // namespace tandem::reference
