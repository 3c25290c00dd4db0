// GraphStep: on a GPU, a training step captured once as a CUDA graph and replayed for every later step. A step that has to
// wait for other ranks is several graphs, and the ranks exchange what they have computed behind each.
//
// A graph repeats its kernels on the same addresses. Whatever changes from step to step must therefore lie in
// device memory that stays in place: the batch, the learning rate, the carried state, and the step of the
// dropout keys, which replay() advances.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tandem/models/named_tensor.h"

namespace tandem {

namespace cuda {
class Graph;
class GraphMemory;
}  // namespace cuda

class GraphStep {
 public:
  // Turns graphs on (the default) or off, and drops the graphs there are. The results are the same bits either way.
  void allow(bool on);
  // Drops the graphs: the tensors that they read or write are no longer in their places.
  void reset();
  // reset(), and the next steps run operator by operator again before a capture, as after construction.
  void restart();

  // Enqueues a part of a step whose dropout masks begin at the given micro-step.
  using Part = std::function<void(uint32_t first_micro_step)>;
  // Runs one step, which consists of one or several parts, and calls after(i) after part i: replays the graphs of each part,
  // or captures them first, or, while that is not allowed or not possible, calls the part. The parts must be usable for every
  // later step; `after` is always called, and may wait for the device and for other ranks. Call it only for steps on a GPU
  // that have the shapes of all later ones. A capture that fails leaves gradients cleared and computes its part; refusal()
  // then tells why, and no other capture is tried.
  void run(uint32_t first_micro_step, const std::vector<NamedTensor>& parameters, std::span<const Part> parts,
           const std::function<void(size_t part)>& after);
  // Calls the parts, for steps of other shapes and on a CPU.
  static void run_eagerly(uint32_t first_micro_step, std::span<const Part> parts,
                          const std::function<void(size_t part)>& after);

  // A part calls it where what it has enqueued so far is to begin: a graph ends here, and another one begins. Then
  // `between` is called, in this step and in every step that replays it. It may enqueue work that no graph holds, on
  // memory that stays, but not wait for the device. A part that is computed again, since its capture failed, calls no
  // `between` twice.
  void cut(const std::function<void()>& between);

  bool captured() const { return !parts_.empty(); }
  const std::string& refusal() const { return refusal_; }  // empty: no capture has failed

 private:
  // A graph, and what follows it within its part.
  struct Piece {
    std::shared_ptr<cuda::Graph> graph;
    std::function<void()> between;
  };
  // Adds the pieces of a part, whose work is launched as it is captured. Returns false if that fails, and drops the pieces of
  // the parts before; the part is to be called then, which skips the cuts that have happened.
  bool capture(uint32_t first_micro_step, const std::vector<NamedTensor>& parameters, const Part& part);
  void begin_piece();
  void end_piece(const std::function<void()>& between);
  void abandon_capture();

  // Until the allocator has reached its final layout. A step of the same shapes has run before the first of them.
  static constexpr int kStepsBeforeCapture = 1;

  bool allowed_ = true;
  int steps_before_capture_ = 0;
  std::shared_ptr<cuda::GraphMemory> memory_;  // of all graphs; null if there are none
  std::vector<std::vector<Piece>> parts_;      // or none
  std::vector<Piece> pieces_;                  // of the part that is being captured
  std::shared_ptr<cuda::Graph> recording_;     // null outside of a capture
  bool is_between_ = false;           // whether a cut's function runs, whose errors are not the capture's
  size_t cuts_to_skip_ = 0;           // of a part whose capture has failed behind them
  uint32_t captured_micro_step_ = 0;  // first micro-step of the captured step
  std::string refusal_;
};

}  // namespace tandem
