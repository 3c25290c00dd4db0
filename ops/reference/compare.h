// Comparisons as 0 and 1, and the choice between two tensors.
#pragma once
#include "tandem/core/tensor.h"
#include "tandem/ops/compare.h"

namespace tandem::reference {

// y_i = 1 if a_i (kind) b_j, else 0;  j = i modulo the number of elements of b, which is repeated
inline Tensor compare(const Tensor& a, const Tensor& b, Comparison kind) {
  Tensor y(a.shape(), DType::f64);
  for (int64_t i = 0; i < y.numel(); ++i) {
    const double left = a.data<double>()[i], right = b.data<double>()[i % b.numel()];
    bool holds = false;
    if (kind == Comparison::equal) holds = left == right;
    if (kind == Comparison::not_equal) holds = left != right;
    if (kind == Comparison::greater) holds = left > right;
    if (kind == Comparison::greater_equal) holds = left >= right;
    if (kind == Comparison::less) holds = left < right;
    if (kind == Comparison::less_equal) holds = left <= right;
    y.data<double>()[i] = holds ? 1 : 0;
  }
  return y;
}

// y_i = a_i if condition_i is not 0, else b_i
inline Tensor where(const Tensor& condition, const Tensor& a, const Tensor& b) {
  Tensor y(a.shape(), DType::f64);
  for (int64_t i = 0; i < y.numel(); ++i)
    y.data<double>()[i] = condition.data<double>()[i] != 0 ? a.data<double>()[i] : b.data<double>()[i];
  return y;
}

}  // namespace tandem::reference
