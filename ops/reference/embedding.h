// One row of a table for every id.
#pragma once
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem::reference {

// ids (...) and table (V, D) to (..., D):  y[t] = table[ids[t]]
inline Tensor embedding(const Tensor& ids, const Tensor& table) {
  const int64_t width = table.size(1);
  std::vector<int64_t> sizes(ids.shape().begin(), ids.shape().end());
  sizes.push_back(width);
  Tensor y(Shape(std::span<const int64_t>(sizes)), DType::f64);
  for (int64_t t = 0; t < ids.numel(); ++t)
    for (int64_t j = 0; j < width; ++j)
      y.data<double>()[t * width + j] = table.data<double>()[ids.data<int32_t>()[t] * width + j];
  return y;
}

}  // namespace tandem::reference
