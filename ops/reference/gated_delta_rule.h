// The gated delta rule step by step, one head of one batch row at a time, with no chunks.
#pragma once
#include <cmath>
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/gated_delta_rule.h"

namespace tandem::reference {

// q, k (T, B, H dk), v (T, B, H dv), log_decay, beta (T, B, H), s0 (B, H dk dv) or undefined for zeros:
//
//     S = e^log_decay S,    S = S + k (beta (v - S^T k))^T,    o = S^T q
inline GatedDeltaResult gated_delta_rule(const GatedDeltaInputs& in) {
  const int64_t heads = in.heads(), dk = in.d_key(), dv = in.d_value(), batch = in.batch();
  Tensor o(in.v.shape(), DType::f64), state({batch, heads * dk * dv}, DType::f64);
  for (int64_t head = 0; head < batch * heads; ++head) {
    double* s = state.data<double>() + head * dk * dv;
    for (int64_t i = 0; i < dk * dv; ++i)
      s[i] = in.s0.defined() ? in.s0.data<double>()[head * dk * dv + i] : 0;
    for (int64_t t = 0; t < in.steps(); ++t) {
      const int64_t at = t * batch * heads + head;
      const double *q = in.q.data<double>() + at * dk, *k = in.k.data<double>() + at * dk;
      const double* v = in.v.data<double>() + at * dv;
      const double decay = std::exp(in.log_decay.data<double>()[at]), beta = in.beta.data<double>()[at];
      for (int64_t i = 0; i < dk * dv; ++i) s[i] *= decay;
      std::vector<double> correction(v, v + dv);
      for (int64_t i = 0; i < dk; ++i)
        for (int64_t j = 0; j < dv; ++j) correction[static_cast<size_t>(j)] -= s[i * dv + j] * k[i];
      for (int64_t j = 0; j < dv; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < dk; ++i) {
          s[i * dv + j] += k[i] * beta * correction[static_cast<size_t>(j)];
          sum += s[i * dv + j] * q[i];
        }
        o.data<double>()[at * dv + j] = sum;
      }
    }
  }
  return {o, state};
}

}  // namespace tandem::reference
