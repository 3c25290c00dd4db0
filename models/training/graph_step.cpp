// Capture of a training step in a CUDA graph, and its replay.
#include "tandem/models/training/graph_step.h"

#include "tandem/autograd/leaf.h"
#include "tandem/core/backend.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/error.h"
#include "tandem/cuda/runtime/graph.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {

void GraphStep::allow(bool on) {
  allowed_ = on;
  reset();
}

void GraphStep::reset() {
  graphs_.clear();
}

void GraphStep::restart() {
  reset();
  steps_before_capture_ = 0;
}

void GraphStep::run(uint32_t first_micro_step, const std::vector<NamedTensor>& parameters,
                    std::span<const Part> parts, const std::function<void(size_t)>& after) {
  bool captures = false;
  if constexpr (kWithCuda)
    captures = allowed_ && refusal_.empty() && steps_before_capture_++ >= kStepsBeforeCapture;
  if (!captures) return run_eagerly(first_micro_step, parts, after);
  if constexpr (kWithCuda) {
    // The graphs do not refresh bf16 copies of weights that were written to since.
    for (const NamedTensor& parameter : parameters)
      if (low_precision_copy(parameter.value).defined()) weight_as(parameter.value, DType::bf16);
    for (size_t i = 0; i < parts.size(); ++i) {
      if (captures && graphs_.size() <= i) captures = capture(first_micro_step, parameters, parts[i]);
      if (captures)
        graphs_[i]->replay(first_micro_step - captured_micro_step_);
      else
        parts[i](first_micro_step);
      after(i);
    }
  }
}

void GraphStep::run_eagerly(uint32_t first_micro_step, std::span<const Part> parts,
                            const std::function<void(size_t)>& after) {
  for (size_t i = 0; i < parts.size(); ++i) {
    parts[i](first_micro_step);
    after(i);
  }
}

bool GraphStep::capture([[maybe_unused]] uint32_t first_micro_step,
                        [[maybe_unused]] const std::vector<NamedTensor>& parameters,
                        [[maybe_unused]] const Part& part) {
  if constexpr (kWithCuda) {
    try {
      // The memory of the steps before is idle now, and the graph takes as much of its own: both need not fit.
      cuda::allocator().release_cached();
      const auto graph = std::make_shared<cuda::Graph>();
      graph->capture([&part, first_micro_step] { part(first_micro_step); });
      graphs_.push_back(graph);
      captured_micro_step_ = first_micro_step;
      return true;
    } catch (const Error& error) {
      refusal_ = error.what();
      reset();
      for (const NamedTensor& parameter : parameters) {
        zero_grad(parameter.value);
        parameter.value.storage()->touch();
      }
    }
  }
  return false;
}

}  // namespace tandem
