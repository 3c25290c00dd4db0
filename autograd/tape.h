// Tape: reverse-mode automatic differentiation taken literally. Operators append entries while they run; backward()
// walks the list from its end and pops entries as it goes, so memory falls during the backward pass.
//
//     Tape tape;                                // without one nothing is recorded and nothing is saved
//     Tensor loss = sum(mul(a, b));             // a, b: leaves made by requires_grad()
//     tape.backward(loss);
//     grad(a);                                  // equals b
//
// README.md in this folder is the tutorial.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tandem/autograd/leaf.h"
#include "tandem/autograd/tape_instruments.h"
#include "tandem/core/tensor.h"

namespace tandem {

using Grads = std::vector<Tensor>;
// Maps the gradient of the output to the gradients of the inputs, in their order; the gradient of an input for which
// needs_grad() is false may be undefined. What the function captures is what the operator keeps in memory: write the
// capture list out.
using Backward = std::function<Grads(const Tensor& dy)>;
// The same for several outputs. The gradient of an output that was never used is undefined. The function owns the
// gradients it is given, and may overwrite one of which it is the sole owner.
using BackwardMany = std::function<Grads(Grads dys)>;

// Appends an operator to the current tape, if there is one and an input needs a gradient. Returns y, now tracked.
// `name` must outlive the tape (a literal). Outputs of integer dtypes are noted but not tracked.
// Error: an input was recorded on another tape, or on a spent one; an output is undefined or has a history already.
Tensor record(const char* name, const Tensor& y, std::vector<Tensor> inputs, Backward backward);
std::vector<Tensor> record(const char* name, std::vector<Tensor> ys, std::vector<Tensor> inputs,
                           BackwardMany backward);

class Tape;

// While one lives, `tape` is the current tape of the thread that made it; null: nothing is recorded. Of several, the
// last made counts. They may end in any order and on any thread: one that has ended is skipped.
class RecordingScope {
 public:
  explicit RecordingScope(Tape* tape);
  ~RecordingScope();
  RecordingScope(const RecordingScope&) = delete;
  RecordingScope& operator=(const RecordingScope&) = delete;

 private:
  friend class Tape;
  struct State;
  static std::vector<std::shared_ptr<State>>& of_thread();
  std::shared_ptr<State> state_;
};

// Pauses recording in a scope: evaluation, statistics, the inside of an operator made of others.
class NoGrad {
 public:
  NoGrad() : scope_(nullptr) {}

 private:
  RecordingScope scope_;
};

class Tape {
 public:
  using Options = TapeOptions;

  // A new tape is the thread's current one until it is destroyed; tapes nest, and the innermost records.
  explicit Tape(Options options = {});
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // Returns the innermost tape of this thread; null if there is none or recording is paused.
  static Tape* current();

  // Adds d(loss)/d(leaf) to the gradient of every leaf that loss depends on, and empties the tape. Error: loss has more
  // than one element or is not on this tape; the tape is spent; an operator returned a gradient of the wrong number,
  // shape, dtype or device (operator and input are named).
  void backward(const Tensor& loss);
  // The same from several outputs, each with the gradient that flows into it (undefined: none). If an output is a leaf,
  // its gradient is added directly. Pass the vectors with std::move to free them before the walk.
  void backward(std::vector<Tensor> outputs, Grads output_grads);

  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  bool spent() const { return spent_; }
  const Options& options() const { return instruments_.options(); }

  // Prints every entry in order: operator, output shapes, inputs, bytes that only its backward function keeps, and
  // milliseconds; as a table, or as a drawing for Graphviz. A leaf appears by the name that requires_grad() gave it.
  std::string dump() const;
  std::string dump_graphviz() const;

  // Returns the times of all entries so far and of the backward pass, slowest operator first. Needs Options::profile.
  std::vector<OperatorTime> times() const { return instruments_.times(); }

 private:
  friend std::vector<Tensor> record(const char*, std::vector<Tensor>, std::vector<Tensor>, BackwardMany);
  friend std::vector<Tensor> recompute(const char*,
                                       std::function<std::vector<Tensor>(const std::vector<Tensor>&)>,
                                       const std::vector<Tensor>&);

  struct TensorMeta {
    Shape shape;
    DType dtype;
    Device device;
  };
  struct Entry {
    const char* name;
    std::vector<TensorMeta> outputs;
    std::vector<TensorMeta> inputs;
    std::vector<std::shared_ptr<GradNode>> input_nodes;  // null where no gradient is wanted
    BackwardMany backward;
    Grads grads;  // gradients of the outputs, as they arrive
    double forward_ms = 0;
  };

  void append(const char* name, const std::vector<Tensor>& ys, const std::vector<Tensor>& inputs,
              BackwardMany backward);
  void step_back(Entry& entry);
  void deliver(GradNode& node, Tensor gradient);

  TapeInstruments instruments_;
  uint64_t id_;  // never used again, so that tensors of a tape that is gone can be told
  bool spent_ = false;
  std::vector<Entry> entries_;
  RecordingScope scope_;
};

}  // namespace tandem
