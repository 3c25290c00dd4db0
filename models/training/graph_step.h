// GraphStep: on a GPU, a training step captured once as a CUDA graph and replayed for every later step.
//
// A graph repeats its kernels on the same addresses. Whatever changes from step to step must therefore lie in
// device memory that stays in place: the batch, the learning rate, the carried state, and the step of the
// dropout keys, which replay() advances.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tandem/models/named_tensor.h"

namespace tandem {

namespace cuda {
class Graph;
}

class GraphStep {
 public:
  // Turns graphs on (the default) or off, and drops the graph there is. The results are the same bits either way.
  void allow(bool on);
  // Drops the graph: the tensors that it reads or writes are no longer in their places.
  void reset();
  // reset(), and the next steps run operator by operator again before a capture, as after construction.
  void restart();

  // Runs one step: replays the graph, or captures it first, or, while that is not allowed or not possible,
  // calls `compute`. `compute` enqueues the step whose dropout masks begin at the given micro-step; it must be
  // usable for every later step. Call it only for steps on a GPU that have the shapes of all later ones. A
  // capture that fails leaves gradients cleared and computes the step; refusal() then tells why, and no other
  // capture is tried.
  void run(uint32_t first_micro_step, const std::vector<NamedTensor>& parameters,
           const std::function<void(uint32_t first_micro_step)>& compute);

  bool captured() const { return graph_ != nullptr; }
  const std::string& refusal() const { return refusal_; }  // empty: no capture has failed

 private:
  static constexpr int kStepsBeforeCapture = 2;  // until the allocator has reached its final layout

  bool allowed_ = true;
  int steps_before_capture_ = 0;
  std::shared_ptr<cuda::Graph> graph_;
  uint32_t captured_micro_step_ = 0;  // first micro-step of the captured step
  std::string refusal_;
};

}  // namespace tandem
