// Benchmarks training steps on random text: speed, split by operator, the floor that matrix products set,
// memory.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/models/training/run_config.h"
#include "tandem/ops/gemm/log.h"
#include "tools/bench/operators.h"
#include "tools/bench/peak.h"

namespace tandem {

// The time of a part of a step in units of the floor: the time of the step's products at a measured rate, on
// a CPU that of a product timed beside the same step, on a GPU the peak.
struct StepPart {
  std::string name;  // "step", "replay" (CPU), "operator by operator" (GPU), "optimizer", or an operator
  Spread floors;
};

struct StepResult {
  MatmulPrecision precision = MatmulPrecision::f32;
  int64_t steps = 0;       // number of timed steps
  bool recompute = false;  // whether layers are run again in the backward pass
  int64_t tokens_per_step = 0;
  Spread step_ms;  // time of a step; on a GPU each is one CUDA graph, unless graphs are refused

  // On a GPU: the same steps operator by operator, and why there is no graph (empty: there is one).
  Spread eager_ms;
  std::string graph_refusal;

  // The split of a step, medians over the steps: its operators, forward and backward; the optimizer, timed
  // separately on copies of the parameters; and the rest (batches, masks, carried state, freeing). On a GPU
  // the split is that of profiled steps, which wait for each operator.
  std::vector<OperatorTime> operators;  // slowest first
  double split_ms = 0;                  // time of the step that is split
  std::string optimizer;                // its kind: that of the preset
  double optimizer_ms = 0;
  double rest_ms = 0;

  // The floor: the time of the step's products alone, at the measured peak and, on a CPU, run again back to
  // back.
  GemmFlops flops;
  // On a GPU: the products of a step, in order, by which a profiler's kernels are told apart.
  std::vector<GemmCall> products;
  double peak_floor_ms = 0;
  Spread replay_ms;
  std::vector<StepPart> parts;
  double flops_per_token = 0;  // that the model needs in both passes, by LanguageModel::forward_flops()

  size_t peak_bytes = 0;      // peak of tensors on the device, run operator by operator
  size_t reserved_bytes = 0;  // memory of the device that the allocator holds, that of the graph included
  size_t resident_bytes = 0;  // resident memory of the process after warm-up; 0 if the system does not tell
  int64_t system_allocations =
      0;  // in the timed steps, times that the allocators asked system or driver for memory

  double tokens_per_second() const { return 1e3 * static_cast<double>(tokens_per_step) / step_ms.median; }
  double flops_per_second() const { return flops_per_token * tokens_per_second(); }
  // Returns the precision of the products that `flops` counts as f32: tf32 if `precision` is, else f32.
  MatmulPrecision wide() const {
    return precision == MatmulPrecision::tf32 ? MatmulPrecision::tf32 : MatmulPrecision::f32;
  }
};

// Returns the configuration of the steps: the preset's recipe, with the given sizes.
RunConfig step_config(const BenchSizes& sizes, MatmulPrecision precision);

// Returns random bytes, enough for `segments` within one epoch, in which every value below `vocabulary`
// occurs. Error: a vocabulary that bytes cannot have.
std::vector<uint8_t> random_bytes(const Recipe& recipe, int64_t segments, int64_t vocabulary);

// Trains the preset's model, with its recipe and the given sizes, on random bytes on the bench device: a few
// steps to warm up, then `steps` timed ones. On a CPU each is followed by one replay of its products and one
// separate update of the optimizer, so that disturbances fall on all of them alike. On a GPU a few steps at a
// time are enqueued without waiting, as in training; first operator by operator, then as CUDA graphs. The last
// step of the warm-up is marked for profilers (cuda/runtime/profiler.h). Error:
// fewer than one step; a precision that the device does not have.
StepResult bench_step(const BenchSizes& sizes, MatmulPrecision precision, int64_t steps, const Peaks& peaks,
                      bool recompute = false);

// Returns the report, a paragraph.
std::string step_text(const StepResult& result, const Peaks& peaks);

}  // namespace tandem
