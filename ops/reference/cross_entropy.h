// The negative log-likelihood of each target under the softmax of its logits.
#pragma once
#include <cmath>

#include "tandem/core/tensor.h"

namespace tandem::reference {

// logits (..., V), targets (...) to (...), in nats:  nll = log sum_j exp(x_j) - x_target
inline Tensor token_nll(const Tensor& logits, const Tensor& targets) {
  const int64_t width = logits.size(-1);
  Tensor nll(targets.shape(), DType::f64);
  for (int64_t i = 0; i < targets.numel(); ++i) {
    const double* x = logits.data<double>() + i * width;
    double total = 0;
    for (int64_t j = 0; j < width; ++j) total += std::exp(x[j]);
    nll.data<double>()[i] = std::log(total) - x[targets.data<int32_t>()[i]];
  }
  return nll;
}

}  // namespace tandem::reference
