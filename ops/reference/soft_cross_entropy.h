// The loss of distillation: cross-entropy with the target, and the divergence from the teacher's softened distribution.
#pragma once
#include <cmath>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/reference/cross_entropy.h"

namespace tandem::reference {

// logits and teacher (..., V), targets (...), to the mean over all tokens, in nats, of
//     (1 - w) nll + w T^2 sum_j p_j (log p_j - log q_j),   p = softmax(teacher / T),   q = softmax(logits / T)
// where with shares (...) the sum of a token counts that often, and a target of -1 has no nll.
inline double soft_cross_entropy(const Tensor& logits, const Tensor& targets, const Tensor& teacher,
                                 double weight, double temperature, const Tensor& shares = {}) {
  const int64_t width = logits.size(-1);
  const Tensor known = targets.clone();
  for (int32_t& target : known.span<int32_t>()) target = target < 0 ? 0 : target;
  const Tensor nll = reference::token_nll(logits, known);
  const auto softmax = [width, temperature](const double* x) {
    std::vector<double> y(static_cast<size_t>(width));
    double total = 0;
    for (int64_t j = 0; j < width; ++j) total += y[static_cast<size_t>(j)] = std::exp(x[j] / temperature);
    for (double& value : y) value /= total;
    return y;
  };
  double sum = 0;
  for (int64_t i = 0; i < targets.numel(); ++i) {
    const std::vector<double> p = softmax(teacher.data<double>() + i * width),
                              q = softmax(logits.data<double>() + i * width);
    double divergence = 0;
    for (size_t j = 0; j < p.size(); ++j) divergence += p[j] * (std::log(p[j]) - std::log(q[j]));
    if (targets.data<int32_t>()[i] >= 0) sum += (1 - weight) * nll.data<double>()[i];
    const double share = shares.defined() ? shares.data<double>()[i] : 1;
    sum += weight * temperature * temperature * share * divergence;
  }
  return sum / static_cast<double>(targets.numel());
}

}  // namespace tandem::reference
