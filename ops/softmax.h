// softmax over the last axis; and with a causal mask, where what is masked is never computed.
#pragma once
#include "core/macros.h"
#include "core/tensor.h"

namespace tandem {

// y = exp(x) / sum exp(x) over the last axis, any leading axes. Error: x is not floating, or has no axis.
Tensor softmax(const Tensor& x);

// Which keys a query sees, when the keys are `memory` earlier rows followed by the queries' own: row i sees
// key j if j <= memory + i, that is all memory, the past and itself. With a window, only the nearest `window`
// of those, its own included: SRU++ with a memory of M rows evaluates with window = M + 1.
struct CausalMask {
  int64_t memory = 0;
  int64_t window = 0;  // 0: no limit

  // Row i sees keys begin(i) .. end(i) - 1; never none.
  TANDEM_HD int64_t begin(int64_t row) const {
    const int64_t first = memory + row - window + 1;
    return window == 0 || first < 0 ? 0 : first;
  }
  TANDEM_HD int64_t end(int64_t row) const { return memory + row + 1; }
};

// scores (..., T, M + T), M = mask.memory -> weights of the same shape; exactly 0 where masked. The gradient
// is 0 there. Error: the last two sizes do not fit the mask; a negative memory or window.
Tensor masked_softmax(const Tensor& scores, CausalMask mask);

namespace cpu {
void softmax_forward(const Tensor& y, const Tensor& x);
void softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y);
void masked_softmax_forward(const Tensor& y, const Tensor& x, CausalMask mask);
void masked_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y, CausalMask mask);
}  // namespace cpu

namespace cuda {
void softmax_forward(const Tensor& y, const Tensor& x);
void softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y);
void masked_softmax_forward(const Tensor& y, const Tensor& x, CausalMask mask);
void masked_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y, CausalMask mask);
}  // namespace cuda

}  // namespace tandem
