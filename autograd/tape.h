// Tape: reverse-mode automatic differentiation taken literally. Operators append entries while they run;
// backward walks the list from its end and pops as it goes, so memory falls during the backward pass.
//
//     Tape tape;                                // without one nothing is recorded and nothing is saved
//     Tensor loss = sum(mul(a, b));             // a, b: leaves made by requires_grad()
//     tape.backward(loss);
//     grad(a);                                  // equals b
//
// README.md in this folder is the tutorial.
#pragma once
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

#include "autograd/gradient.h"
#include "core/tensor.h"

namespace tandem {

using Grads = std::vector<Tensor>;
// From the gradient of the output to those of the inputs, in order. An input for which needs_grad() is false
// may get an undefined tensor. What the function captures is what the operator keeps alive: write the capture
// list out.
using Backward = std::function<Grads(const Tensor& dy)>;
// The same for several outputs; the gradient of an output that nobody used is undefined. They are the
// function's own: what nobody else holds may be written over.
using BackwardMany = std::function<Grads(Grads dys)>;

// Appends an operator to the current tape, if there is one and an input needs a gradient; returns y, now
// tracked. `name` must outlive the tape (a literal). Outputs of integer dtypes are noted but not tracked.
// Error: an input was recorded on another tape, or on one that is spent; an output is undefined or has a
// history already.
Tensor record(const char* name, const Tensor& y, std::vector<Tensor> inputs, Backward backward);
std::vector<Tensor> record(const char* name, std::vector<Tensor> ys, std::vector<Tensor> inputs,
                           BackwardMany backward);

// Sums over the entries of one operator name, for profiles: times in milliseconds.
struct OperatorTime {
  std::string name;
  int64_t calls = 0;
  double forward_ms = 0;
  double backward_ms = 0;
};

class Tape {
 public:
  struct Options {
    bool check_nan = false;  // stop at the first operator whose output or gradient is not finite, and name it
    bool profile = false;    // collect times by operator, see times()
  };

  // Becomes the thread's current tape until it is destroyed; tapes nest, and the inner one records.
  Tape() : Tape(Options()) {}
  explicit Tape(Options options);
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // The innermost tape of this thread; null when there is none or recording is paused.
  static Tape* current();

  // Adds d(loss)/d(leaf) to the gradient of every leaf that loss depends on, and empties the tape. Error:
  // loss has more than one element or is not on this tape; the tape is spent; an operator returned a gradient
  // of the wrong number, shape, dtype or device (both are named).
  void backward(const Tensor& loss);
  // The same from several outputs, each with the gradient that flows into it (undefined: none does). A leaf
  // among the outputs takes its gradient as it is. Both lists are let go before the walk: moved in, what
  // they alone hold is freed.
  void backward(std::vector<Tensor> outputs, Grads output_grads);

  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  bool spent() const { return spent_; }
  const Options& options() const { return options_; }

  // Every entry in order: operator, output shapes, inputs, bytes that only its backward function keeps,
  // milliseconds.
  std::string dump() const;
  std::string dump_graphviz() const;

  // Profile of all entries so far (forward) and of the backward pass, slowest first. Needs Options::profile.
  std::vector<OperatorTime> times() const;

 private:
  friend std::vector<Tensor> record(const char*, std::vector<Tensor>, std::vector<Tensor>, BackwardMany);
  friend std::vector<Tensor> recompute(const char*,
                                       std::function<std::vector<Tensor>(const std::vector<Tensor>&)>,
                                       const std::vector<Tensor>&);

  struct OutputInfo {
    Shape shape;
    DType dtype;
    Device device;
  };
  struct Entry {
    const char* name;
    std::vector<OutputInfo> outputs;
    std::vector<OutputInfo> inputs;
    std::vector<std::shared_ptr<GradNode>> input_nodes;  // null where no gradient is wanted
    BackwardMany backward;
    Grads grads;  // of the outputs, as they arrive
    double forward_ms = 0;
  };

  void append(const char* name, const std::vector<Tensor>& ys, const std::vector<Tensor>& inputs,
              BackwardMany backward);
  void run_backward();
  void step_back(Entry& entry);
  void deliver(GradNode& node, Tensor gradient);
  void check_output(const char* name, size_t output, const Tensor& y,
                    const std::vector<Tensor>& inputs) const;
  void check_gradient(const Entry& entry, size_t input, const Tensor& gradient) const;
  double lap();
  OperatorTime& time_of(const char* name);

  Options options_;
  uint64_t id_;
  Tape* outer_;
  bool spent_ = false;
  std::vector<Entry> entries_;
  double last_ms_ = 0;  // when the last lap ended
  std::vector<OperatorTime> times_;
};

// Pauses recording in a scope: evaluation, statistics, the inside of an operator made of others.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  Tape* paused_;
};

}  // namespace tandem
