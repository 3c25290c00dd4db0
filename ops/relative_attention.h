// relative_attention: causal attention whose scores depend on the distance of the key, as in Transformer-XL.
//
// Dai et al., "Transformer-XL: attentive language models beyond a fixed-length context" (2019), section 3.3.
#pragma once
#include "tandem/core/tensor.h"
#include "tandem/ops/attention.h"

namespace tandem {

// Returns the attention of q (T, B, D) over kv (M + T, B, 2 D), laid out as in causal_attention(), with
// relative positions r (P, D) and biases u, v (D) -> (T, B, D). The score of query i and key j, in each head
// with its slice of the width, is
//
//     ((q_i + u) . k_j + (q_i + v) . r_d) / sqrt(D / heads),    d = min(M + i - j, P - 1)
//
// where row d of r is the projected vector of distance d, and the last row serves all greater distances too.
// u and v may be f32 with the others in bf16, and then their gradients are f32. Masks, dropout and memory use
// are those of causal_attention(). A tap hears relative_attention.weights (B, heads, T, M + T). Error: those of causal_attention(); r is not (P, D) with P >= 1, u or v is
// not (D), dtypes or devices differ.
Tensor relative_attention(const Tensor& q, const Tensor& kv, const Tensor& r, const Tensor& u,
                          const Tensor& v, const AttentionOptions& options = {});

}  // namespace tandem
