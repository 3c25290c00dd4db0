// Causal attention whose scores know how far back a key lies, as in Transformer-XL.
//
// Dai et al., "Transformer-XL: attentive language models beyond a fixed-length context" (2019), section 3.3.
#pragma once
#include "core/tensor.h"
#include "ops/attention.h"

namespace tandem {

// q (T, B, D), kv (M + T, B, 2 D) as in causal_attention, r (P, D), u and v (D) -> (T, B, D). Row p of r is
// the projected vector of distance p; distances of P and more use row P - 1. The score of query i and key j,
// for each head with its slice of the width, is
//   ((q_i + u) . k_j + (q_i + v) . r_d) / sqrt(D / heads),   d = min(M + i - j, P - 1).
// u and v may be f32 beside bf16, and so are their gradients then. Masks, dropout, what is computed and what
// is stored are as in causal_attention; so are the errors. More errors: r not (P, D) with P >= 1, u or v not
// (D), dtypes or devices that differ.
Tensor relative_attention(const Tensor& q, const Tensor& kv, const Tensor& r, const Tensor& u,
                          const Tensor& v, const AttentionOptions& options = {});

}  // namespace tandem
