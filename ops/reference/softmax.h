// Each row's exponentials, divided by their sum; what a mask hides takes no part and is 0.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"
#include "tandem/ops/softmax.h"

namespace tandem::reference {

// x (..., N):  y_j = exp(x_j) / sum over k of exp(x_k)
inline Tensor softmax(const Tensor& x) {
  const int64_t n = x.size(-1);
  Tensor y(x.shape(), DType::f64);
  for (int64_t row = 0; row < x.numel(); row += n) {
    double total = 0;
    for (int64_t j = 0; j < n; ++j) total += std::exp(x.data<double>()[row + j]);
    for (int64_t j = 0; j < n; ++j) y.data<double>()[row + j] = std::exp(x.data<double>()[row + j]) / total;
  }
  return y;
}

// x (..., N):  y_j = x_j - log sum over k of exp(x_k)
inline Tensor log_softmax(const Tensor& x) {
  const Tensor y = reference::softmax(x);
  for (int64_t i = 0; i < y.numel(); ++i) y.data<double>()[i] = std::log(y.data<double>()[i]);
  return y;
}

// scores (..., T, M + T): the same over the keys j that query t sees:  j <= M + t,  and with a window W also
// j > M + t - W.
inline Tensor masked_softmax(const Tensor& scores, CausalMask mask) {
  const int64_t queries = scores.size(-2), keys = scores.size(-1), rows = scores.numel() / keys;
  const Tensor y = zeros(scores.shape(), DType::f64);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t newest = mask.memory + row % queries;
    const double* x = scores.data<double>() + row * keys;
    const auto visible = [&](int64_t j) {
      return j <= newest && (mask.window == 0 || j > newest - mask.window);
    };
    double total = 0;
    for (int64_t j = 0; j < keys; ++j)
      if (visible(j)) total += std::exp(x[j]);
    for (int64_t j = 0; j < keys; ++j)
      if (visible(j)) y.data<double>()[row * keys + j] = std::exp(x[j]) / total;
  }
  return y;
}

}  // namespace tandem::reference
