// TapeInstruments: checks and times of a tape while it records and walks. They find where the first NaN arose,
// and how long each operator took. The tape itself (tape.cpp) is complete without.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

// A leaf that a backward pass reached, and the operator that used it.
struct LeafUse {
  std::shared_ptr<GradNode> leaf;
  Shape shape;
  const char* op;
};

struct TapeOptions {
  bool check_nan = false;  // stop at the first operator whose output or gradient is not finite, and name it
  bool profile = false;    // add up the times of each operator, see Tape::times()
  std::vector<LeafUse>* leaves = nullptr;  // if not null, backward() adds every use of a leaf that it reaches
  // If both are set, backward() calls the first with all leaves that entries use, and the second for each of them when no entry is
  // left that could add to its gradient: what follows the backward pass, such as an exchange with other processes, may begin
  // with this leaf. Where recompute() hides leaves, the first gets none, and the second is not called.
  std::function<void(const std::set<const GradNode*>& leaves)> on_backward = nullptr;
  std::function<void(const GradNode& leaf)> on_final = nullptr;
};

// Sums over all entries with one operator's name, for profiles.
struct OperatorTime {
  std::string name;
  int64_t calls = 0;
  double forward_ms = 0;
  double backward_ms = 0;
};

class TapeInstruments {
 public:
  explicit TapeInstruments(TapeOptions options);
  const TapeOptions& options() const { return options_; }

  // With check_nan, each throws an Error if a tensor is not finite. `entry` is the index to report. check_outputs()
  // also blames an input, since a tensor that was never recorded was never checked.
  void check_outputs(const char* name, int64_t entry, const std::vector<Tensor>& ys,
                     const std::vector<Tensor>& inputs) const;
  void check_gradient(const char* name, int64_t entry, size_t input, const Tensor& gradient) const;
  void check_given_gradient(size_t output, const Tensor& y, const Tensor& dy) const;

  // Adds a use of a leaf to TapeOptions::leaves.
  void note_leaf(const char* name, const std::shared_ptr<GradNode>& leaf, const Shape& shape) const {
    if (options_.leaves) options_.leaves->push_back({leaf, shape, name});
  }

  // Note, for TapeOptions::on_final, that an entry uses a leaf; that one may use leaves which nobody can tell; and that the
  // backward pass has come past an entry.
  void note_input(const std::shared_ptr<GradNode>& leaf, int64_t entry);
  void note_hidden_inputs() { hides_inputs_ = true; }
  void note_passed(int64_t entry);

  // Each ends a lap of the clock, and counts it for the operator of this name. Under `profile` they first wait until
  // the device has finished its work. forward_done() returns the milliseconds since the previous entry.
  double forward_done(const char* name, const std::vector<Tensor>& ys);
  void backward_begins();
  void backward_done(const char* name);

  // The sums so far, slowest operator first; empty without `profile`.
  std::vector<OperatorTime> times() const;

 private:
  double lap();
  OperatorTime& time_of(const char* name);

  TapeOptions options_;
  bool on_gpu_ = false;  // an entry ran on a GPU, so there is something to wait for
  double last_ms_;       // the time at which the last lap ended
  std::vector<OperatorTime> times_;
  bool hides_inputs_ = false;
  std::set<const GradNode*> used_;                                         // the leaves of first_uses_
  std::vector<std::pair<int64_t, std::shared_ptr<GradNode>>> first_uses_;  // entry and leaf, in order
};

}  // namespace tandem
