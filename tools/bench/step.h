// Training steps on random text: speed, where the time goes, the floor that the matrix products set, memory.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "ops/gemm/log.h"
#include "tools/bench/operators.h"
#include "tools/bench/peak.h"

namespace tandem {

// A part of a step, in units of the floor at the measured rate of products: on a CPU that of a product timed
// beside the same step, on a GPU the peak.
struct StepPart {
  std::string name;  // "step", "replay" or "operator by operator", "optimizer", or an operator's
  Spread floors;
};

struct StepResult {
  MatmulPrecision precision = MatmulPrecision::f32;
  int64_t steps = 0;       // timed
  bool recompute = false;  // each layer again in backward
  int64_t tokens_per_step = 0;
  Spread step_ms;  // on a GPU of steps that are one CUDA graph each, unless graphs are refused

  // On a GPU: the same steps operator by operator, and why there is no graph; empty where there is one.
  Spread eager_ms;
  std::string graph_refusal;

  // Medians over the steps, on a GPU over profiled ones, which wait for each operator. A step is the
  // operators, forward and backward; the optimizer, timed apart on copies of the parameters; and the rest:
  // batches, masks, carried state, freeing.
  std::vector<OperatorTime> operators;  // slowest first
  double split_ms = 0;                  // the step that is split
  double optimizer_ms = 0;
  double rest_ms = 0;

  // The floor: what the products of a step take alone; at the measured peak, and, on a CPU, run again back to
  // back.
  GemmFlops flops;
  double peak_floor_ms = 0;
  Spread replay_ms;
  std::vector<StepPart> parts;
  double flops_per_token = 0;  // that the model needs, forward and backward: LanguageModel::forward_flops()

  size_t peak_bytes = 0;           // of the device, in tensors at once, operator by operator
  size_t reserved_bytes = 0;       // of the device, held by the allocator, that of the graph included
  size_t resident_bytes = 0;       // of the process, after warm-up; 0 where the system does not say
  int64_t system_allocations = 0;  // by the allocators from system and device, in the timed steps

  double tokens_per_second() const { return 1e3 * static_cast<double>(tokens_per_step) / step_ms.median; }
  double flops_per_second() const { return flops_per_token * tokens_per_second(); }
  // In which the products counted as f32 ran.
  MatmulPrecision wide() const {
    return precision == MatmulPrecision::tf32 ? MatmulPrecision::tf32 : MatmulPrecision::f32;
  }
};

// Trains the preset's model, with its recipe and the given sizes, on random bytes on the bench device: a few
// steps to warm up, then `steps`. On a CPU each is followed by one replay of its products and one update of
// the optimizer apart, so that what else the machine does falls on all of them alike. On a GPU they are
// enqueued a few at a time without waiting, as in training; first operator by operator, then as a graph.
// Error: fewer than one step; a precision that the device does not have.
StepResult bench_step(const BenchSizes& sizes, MatmulPrecision precision, int64_t steps, const Peaks& peaks,
                      bool recompute = false);

// The report, a paragraph.
std::string step_text(const StepResult& result, const Peaks& peaks);

}  // namespace tandem
