// Causal attention with memory, one query of one head at a time.
#pragma once
#include <cmath>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/dropout.h"

namespace tandem::reference {

// q (T, B, D), kv (M + T, B, 2 D) with the keys K before the values V, to (T, B, D). In each head, of width d =
// D / heads:
//
//     y_t = sum over j of  w_tj dropout_tj V_j        w_t = softmax over the visible keys j of  q_t K_j / sqrt(d)
//
// Query t sees the keys j <= M + t; with a window, only the last `window` of those.
inline Tensor causal_attention(const Tensor& q, const Tensor& kv, const AttentionOptions& options) {
  const int64_t queries = q.size(0), batch = q.size(1), width = q.size(2), keys = kv.size(0);
  const int64_t head = width / options.heads, memory = keys - queries;
  const Tensor mask = dropout_mask({batch, options.heads, queries, keys}, options.dropout, DType::f64,
                                   Device::cpu(), options.key);
  const Tensor y = zeros(q.shape(), DType::f64);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < options.heads; ++h)
      for (int64_t t = 0; t < queries; ++t) {
        const int64_t row = (t * batch + b) * width + h * head;
        const double* query = q.data<double>() + row;
        double* out = y.data<double>() + row;
        const auto key = [&](int64_t j) {
          return kv.data<double>() + (j * batch + b) * 2 * width + h * head;
        };
        std::vector<double> weights(static_cast<size_t>(keys));
        double total = 0;
        for (int64_t j = 0; j <= memory + t; ++j) {
          if (options.window > 0 && j <= memory + t - options.window) continue;
          double score = 0;
          for (int64_t i = 0; i < head; ++i) score += query[i] * key(j)[i];
          weights[j] = std::exp(score / std::sqrt(static_cast<double>(head)));
          total += weights[j];
        }
        const double* kept = mask.data<double>() + ((b * options.heads + h) * queries + t) * keys;
        for (int64_t j = 0; j < keys; ++j) {
          const double* value = key(j) + width;
          for (int64_t i = 0; i < head; ++i) out[i] += weights[j] / total * kept[j] * value[i];
        }
      }
  return y;
}

}  // namespace tandem::reference
