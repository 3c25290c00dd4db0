// softmax: softmax and log_softmax over the last axis, and masked_softmax over what a causal mask lets through.
#pragma once
#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace tandem {

// Computes y = exp(x) / sum exp(x) over the last axis of x (..., N). Error: x is not floating, or has no axis.
Tensor softmax(const Tensor& x);

// Computes y = log softmax(x) = x - log sum exp(x) over the last axis, without overflow: the largest element is
// subtracted first, so an offset of all x, however large, changes nothing. Error: x is not floating, or has no axis.
Tensor log_softmax(const Tensor& x);

// Says which keys a query sees. The keys are `memory` earlier rows followed by those of the T queries: query i
// sees key j if j <= memory + i, that is all of the memory, the past and itself. With a window it sees only the
// last `window` of those, its own included; SRU++ with a memory of M rows evaluates with window = M + 1.
struct CausalMask {
  int64_t memory = 0;
  int64_t window = 0;  // 0: no limit

  // Query `row` sees the keys begin(row) .. end(row) - 1, which are at least one.
  TANDEM_HD int64_t begin(int64_t row) const {
    const int64_t first = memory + row - window + 1;
    return window == 0 || first < 0 ? 0 : first;
  }
  TANDEM_HD int64_t end(int64_t row) const { return memory + row + 1; }
};

// Computes the softmax of scores (..., T, M + T), M = mask.memory, over the keys that each query sees. Weights
// and gradients are exactly 0 elsewhere, and scores there are never read.
// Error: the last two sizes do not fit the mask; a negative memory or window; scores are not floating.
Tensor masked_softmax(const Tensor& scores, CausalMask mask);

namespace cpu {
void softmax_forward(const Tensor& y, const Tensor& x);
void softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y);
void log_softmax_forward(const Tensor& y, const Tensor& x);
void log_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y);
void masked_softmax_forward(const Tensor& y, const Tensor& x, CausalMask mask);
void masked_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y, CausalMask mask);
}  // namespace cpu

namespace cuda {
void softmax_forward(const Tensor& y, const Tensor& x);
void softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y);
void log_softmax_forward(const Tensor& y, const Tensor& x);
void log_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y);
void masked_softmax_forward(const Tensor& y, const Tensor& x, CausalMask mask);
void masked_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y, CausalMask mask);
}  // namespace cuda

}  // namespace tandem
