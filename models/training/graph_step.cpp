// Capture of a training step in a CUDA graph, and its replay.
#include "tandem/models/training/graph_step.h"

#include "tandem/autograd/leaf.h"
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
  graph_.reset();
}

void GraphStep::restart() {
  reset();
  steps_before_capture_ = 0;
}

void GraphStep::run(uint32_t first_micro_step, const std::vector<NamedTensor>& parameters,
                    const std::function<void(uint32_t first_micro_step)>& compute) {
  if constexpr (kWithCuda) {
    if (!allowed_ || !refusal_.empty() || steps_before_capture_++ < kStepsBeforeCapture)
      return compute(first_micro_step);
    // The graph does not refresh bf16 copies of weights that were written to since.
    for (const NamedTensor& parameter : parameters)
      if (low_precision_copy(parameter.value).defined()) weight_as(parameter.value, DType::bf16);
    if (!graph_) {
      try {
        const auto graph = std::make_shared<cuda::Graph>();
        graph->capture([&compute, first_micro_step] { compute(first_micro_step); });
        graph_ = graph;
        captured_micro_step_ = first_micro_step;
      } catch (const Error& error) {
        refusal_ = error.what();
        for (const NamedTensor& parameter : parameters) {
          zero_grad(parameter.value);
          parameter.value.storage()->touch();
        }
        return compute(first_micro_step);
      }
    }
    graph_->replay(first_micro_step - captured_micro_step_);
  } else {
    compute(first_micro_step);
  }
}

}  // namespace tandem
