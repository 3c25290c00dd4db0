// Training steps on random text: speed, where the time goes, the floor that the matrix products set, memory.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "ops/gemm.h"
#include "tools/support/bench_operators.h"
#include "tools/support/bench_peak.h"

namespace tandem {

struct StepResult {
  MatmulPrecision precision = MatmulPrecision::f32;
  int64_t steps = 0;  // timed
  int64_t tokens_per_step = 0;
  Spread step_ms;

  // Medians over the steps. A step is the operators, forward and backward; the optimizer, timed apart on
  // copies of the parameters; and the rest: batches, masks, carried state, freeing.
  std::vector<OperatorTime> operators;  // slowest first
  double optimizer_ms = 0;
  double rest_ms = 0;

  // The floor: what the products of a step take alone; at the measured peak, and run again back to back.
  GemmFlops flops;
  double peak_floor_ms = 0;
  Spread replay_ms;

  size_t peak_bytes = 0;           // in tensors at once
  size_t reserved_bytes = 0;       // held by the allocator
  size_t resident_bytes = 0;       // of the process, after warm-up; 0 where the system does not say
  int64_t system_allocations = 0;  // of the host allocator from the system, in the timed steps

  double tokens_per_second() const { return 1e3 * static_cast<double>(tokens_per_step) / step_ms.median; }
};

// Trains the preset's model, with its recipe and the given sizes, on random bytes: a few steps to warm up,
// then `steps`, each followed by one replay of its products and one update of the optimizer apart, so that
// what else the machine does falls on all of them alike. Error: fewer than one step; bf16 where the CPU has
// none.
StepResult bench_step(const BenchSizes& sizes, MatmulPrecision precision, int64_t steps, const Peaks& peaks);

// The report, a paragraph.
std::string step_text(const StepResult& result, const Peaks& peaks);

}  // namespace tandem
