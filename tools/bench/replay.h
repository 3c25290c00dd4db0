// Running again, back to back, exactly the matrix products that something ran: its floor in practice.
#pragma once
#include <vector>

#include "core/tensor.h"
#include "ops/gemm/log.h"

namespace tandem {

// Floating-point operations of the calls by the precision they ran in.
GemmFlops flops_of(const std::vector<GemmCall>& calls);

class GemmReplay {
 public:
  // Calls as a GemmLog recorded them. Every kind gets dense operands of its own, which all its repetitions
  // share: no other data passes through the caches in between, as it does in what is compared to it. Error:
  // products in f64.
  explicit GemmReplay(std::vector<GemmCall> calls);

  // All of them once, on all threads; what ran side by side, a thread each, does so again.
  double run_ms() const;

 private:
  struct Operands {
    Tensor a, b, c;  // c: one for each thread
  };
  void run(const GemmCall& call, const Operands& operands) const;

  std::vector<GemmCall> calls_;
  std::vector<Operands> operands_;
};

}  // namespace tandem
