// The attention kernels, called directly.
#pragma once
#include <vector>

#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {

// Returns the tuning whose blocks have about `scores` scores on a GPU of 132 multiprocessors, such as the simulated one and an
// H200; 0 stands for the default.
inline AttentionTuning blocks_of(int64_t scores, bool bf16_scores = false) {
  constexpr double kOnce = 132.0 * 128 * 256;
  return {.waves = scores == 0 ? 1 : (static_cast<double>(scores) + 0.5) / kOnce, .bf16_scores = bf16_scores};
}

// Returns y, dq and dkv for a random dy; with embeddings of positions r, also the gradients of the position term's q, which is
// random, and of r. All are on the CPU.
inline Tensors run_attention_kernels(const Tensor& q, const Tensor& kv, const Tensor& r, Device device,
                                     const AttentionKernel& kernel) {
  const Tensor a = q.to(device), b = kv.to(device), dy = random_tensor(q.shape(), q.dtype(), 99).to(device);
  const Tensor y = empty_like(a), da = empty_like(a), db = empty_like(b);
  PositionTerm term, dterm;
  if (r.defined()) {
    term = {random_tensor(q.shape(), q.dtype(), 98, -2, 2).to(device), r.to(device)};
    dterm = {empty_like(term.q), empty_like(term.r)};
  }
  const Tensor lse({q.size(1), kernel.options.heads, q.size(0)}, parameter_dtype(q.dtype()), device);
  TANDEM_DISPATCH(device, attention_forward(y, lse, a, b, term, kernel));
  TANDEM_DISPATCH(device, attention_backward(da, db, dterm, dy, a, b, term, y, lse, kernel));
  Tensors results = {y, da, db};
  if (r.defined()) results.insert(results.end(), {dterm.q, dterm.r});
  for (Tensor& result : results) result = result.to(Device::cpu());
  return results;
}

}  // namespace tandem::testing
