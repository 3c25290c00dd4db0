// The weights of attention as a tensor, for a tap (core/tap.h). The kernels never hold them all at once.
#pragma once
#include "tandem/ops/attention.h"

namespace tandem {

// Returns the softmax of all scores, (B, heads, T, M + T) in f64 on the CPU, from q, kv and the position term as the kernels
// get them, on any device. Weights of keys that a query does not see are 0. Dropout is left out.
Tensor attention_weights(const Tensor& q, const Tensor& kv, const PositionTerm& positions,
                         const AttentionOptions& options);

}  // namespace tandem
