// Transformer-XL's attention, one query of one head at a time.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/relative_attention.h"

namespace tandem::reference {

// q (T, B, D), kv (M + T, B, 2 D), r (P, D) with the row of distance 0 first, u and v (D), to (T, B, D). In
// each head, of width d:
//
//     y_i = sum over j of  w_ij dropout_ij V_j
//     w_i = softmax over the visible keys j of  ((q_i + u) K_j + (q_i + v) r_{min(M + i - j, P - 1)}) / sqrt(d)
inline Tensor relative_attention(const Tensor& q, const Tensor& kv, const Tensor& r, const Tensor& u,
                                 const Tensor& v, const AttentionOptions& options) {
  const int64_t queries = q.size(0), batch = q.size(1), width = q.size(2), keys = kv.size(0);
  const int64_t head = width / options.heads, memory = keys - queries;
  const Tensor mask = dropout_mask({batch, options.heads, queries, keys}, options.dropout, DType::f64,
                                   Device::cpu(), options.key);
  const Tensor y = zeros(q.shape(), DType::f64);
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t first = 0; first < width; first += head)  // the first column of a head
      for (int64_t i = 0; i < queries; ++i) {
        const double* query = q.data<double>() + (i * batch + b) * width;
        double* out = y.data<double>() + (i * batch + b) * width;
        std::vector<double> weights(static_cast<size_t>(keys));
        double total = 0;
        for (int64_t j = 0; j <= memory + i; ++j) {
          if (options.window > 0 && j <= memory + i - options.window) continue;
          const double* key = kv.data<double>() + (j * batch + b) * 2 * width;
          const double* position = r.data<double>() + std::min(memory + i - j, r.size(0) - 1) * width;
          double score = 0;
          for (int64_t n = first; n < first + head; ++n)
            score +=
                (query[n] + u.data<double>()[n]) * key[n] + (query[n] + v.data<double>()[n]) * position[n];
          weights[j] = std::exp(score / std::sqrt(static_cast<double>(head)));
          total += weights[j];
        }
        const double* kept = mask.data<double>() + ((b * options.heads + first / head) * queries + i) * keys;
        for (int64_t j = 0; j < keys; ++j) {
          const double* value = kv.data<double>() + (j * batch + b) * 2 * width + width;
          for (int64_t n = first; n < first + head; ++n) out[n] += weights[j] / total * kept[j] * value[n];
        }
      }
  return y;
}

}  // namespace tandem::reference
