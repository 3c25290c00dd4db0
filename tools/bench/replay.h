// Runs the matrix products of a log again, back to back: the practical floor of the time of what was logged.
#pragma once
#include <vector>

#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/log.h"

namespace tandem {

// Returns the floating-point operations of the calls, by the precision in which they ran.
GemmFlops flops_of(const std::vector<GemmCall>& calls);

class GemmReplay {
 public:
  // Takes the calls that a GemmLog recorded. Each kind of call gets dense operands, which all its repetitions
  // share, so that operands stay in cache where they fit; in the logged program other data passes through the
  // caches in between. Error: products in f64.
  explicit GemmReplay(std::vector<GemmCall> calls);

  // Runs all calls once and returns the milliseconds. Calls that ran side by side, one on each thread, do so
  // again.
  double run_ms() const;

 private:
  struct Operands {
    Tensor a, b, c;  // c has one result for each thread
  };
  void run(const GemmCall& call, const Operands& operands) const;

  std::vector<GemmCall> calls_;
  std::vector<Operands> operands_;
};

}  // namespace tandem
