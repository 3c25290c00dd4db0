// Tensors joined along their leading axis, or along their last.
#pragma once
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem::reference {

// (N1, ...), (N2, ...), ... to (N1 + N2 + ..., ...): in row-major order, the elements of one after those of the
// other.
inline Tensor concat(const std::vector<Tensor>& xs) {
  std::vector<double> values;
  int64_t rows = 0;
  for (const Tensor& x : xs) {
    values.insert(values.end(), x.data<double>(), x.data<double>() + x.numel());
    rows += x.size(0);
  }
  return tensor_of<double>(xs[0].shape().with(0, rows), values);
}

// (..., N1), (..., N2), ... to (..., N1 + N2 + ...): row by row, the columns of one after those of the other.
inline Tensor concat_columns(const std::vector<Tensor>& xs) {
  std::vector<double> values;
  const int64_t rows = xs[0].numel() / xs[0].size(-1);
  for (int64_t row = 0; row < rows; ++row)
    for (const Tensor& x : xs) {
      const double* begin = x.data<double>() + row * x.size(-1);
      values.insert(values.end(), begin, begin + x.size(-1));
    }
  return tensor_of<double>(xs[0].shape().with(-1, static_cast<int64_t>(values.size()) / rows), values);
}

}  // namespace tandem::reference
