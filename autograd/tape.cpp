// Recording operators and walking the tape backwards.
#include "autograd/tape.h"

#include <algorithm>
#include <atomic>

#include "core/array.h"
#include "core/check.h"

namespace tandem {
namespace {

thread_local Tape* current_tape = nullptr;

std::atomic<uint64_t> next_tape_id{1};

}  // namespace

Tape::Tape(Options options) : options_(options), id_(next_tape_id++), outer_(current_tape) {
  current_tape = this;
  last_ = std::chrono::steady_clock::now();
}

Tape::~Tape() { current_tape = outer_; }

Tape* Tape::current() { return current_tape; }

NoGrad::NoGrad() : paused_(current_tape) { current_tape = nullptr; }
NoGrad::~NoGrad() { current_tape = paused_; }

// Milliseconds since the last call: what passed between two entries is the time of the later one.
double Tape::lap() {
  const auto now = std::chrono::steady_clock::now();
  const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
  last_ = now;
  return ms;
}

OperatorTime& Tape::time_of(const char* name) {
  for (OperatorTime& time : times_)
    if (time.name == name) return time;
  return times_.emplace_back(OperatorTime{name});
}

Tensor record(const char* name, const Tensor& y, std::vector<Tensor> inputs, Backward backward) {
  return record(name, std::vector<Tensor>{y}, std::move(inputs),
                [backward = std::move(backward)](const Grads& dys) { return backward(dys[0]); })[0];
}

std::vector<Tensor> record(const char* name, std::vector<Tensor> ys, std::vector<Tensor> inputs,
                           BackwardMany backward) {
  Tape* tape = current_tape;
  if (tape && std::any_of(inputs.begin(), inputs.end(), needs_grad))
    tape->append(name, ys, inputs, std::move(backward));
  return ys;
}

void Tape::append(const char* name, const std::vector<Tensor>& ys, const std::vector<Tensor>& inputs,
                  BackwardMany backward) {
  CHECK(!spent_, "{}: recorded on a tape whose backward pass is over; make a new Tape for every pass", name);
  Entry entry;
  entry.name = name;
  entry.backward = std::move(backward);
  entry.forward_ms = lap();
  entry.inputs.reserve(inputs.size());
  entry.input_nodes.reserve(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& x = inputs[i];
    if (!needs_grad(x)) {
      entry.inputs.push_back({});
      entry.input_nodes.push_back(nullptr);
      continue;
    }
    CHECK(x.node()->is_leaf() || x.node()->tape == id_,
          "{}: input {}, {}, was recorded on another tape (an outer one, or one that is spent); detach() it to carry "
          "only its value over",
          name, i, x.str());
    entry.inputs.push_back({x.shape(), x.dtype(), x.device()});
    entry.input_nodes.push_back(x.node());
  }
  for (size_t i = 0; i < ys.size(); ++i) {
    const Tensor& y = ys[i];
    CHECK(!y.node(), "{}: output {}, {}, already has a history; return a new tensor (detach() makes one)", name, i,
          y.str());
    if (options_.check_nan)
      CHECK(all_finite(y), "{}: output {}, {}, of entry {} is not finite, and its inputs were", name, i, y.str(),
            entries_.size());
    auto node = std::make_shared<GradNode>();
    node->tape = id_;
    node->entry = size();
    node->output = static_cast<int>(i);
    y.set_node(std::move(node));
    entry.outputs.push_back({y.shape(), y.dtype(), y.device()});
  }
  if (options_.profile) {
    OperatorTime& time = time_of(name);
    ++time.calls;
    time.forward_ms += entry.forward_ms;
  }
  entries_.push_back(std::move(entry));
}

void Tape::backward(const Tensor& loss) {
  CHECK(loss.numel() == 1,
        "backward: needs a loss of one element, got {}; reduce it with sum() or mean(), or give the gradient that "
        "flows into it",
        loss.str());
  backward({loss}, {full(loss.shape(), 1.0, loss.dtype(), loss.device())});
}

void Tape::backward(const std::vector<Tensor>& outputs, const Grads& output_grads) {
  CHECK(!spent_,
        "backward: this tape is spent: its entries were freed as the first backward pass went; run the forward pass "
        "again under a new Tape");
  CHECK(outputs.size() == output_grads.size(), "backward: {} outputs but {} gradients", outputs.size(),
        output_grads.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& y = outputs[i];
    CHECK(y.node() && y.node()->tape == id_,
          "backward: output {}, {}, was not recorded on this tape: nothing that needs a gradient led to it, or another "
          "tape was current",
          i, y.str());
    if (!output_grads[i].defined()) continue;
    CHECK(output_grads[i].shape() == y.shape() && output_grads[i].dtype() == y.dtype() &&
              output_grads[i].device() == y.device(),
          "backward: output {} is {}, its gradient {}", i, y.str(), output_grads[i].str());
    Entry& entry = entries_[y.node()->entry];
    entry.grads.resize(entry.outputs.size());
    Tensor& slot = entry.grads[y.node()->output];
    // A copy, for the caller may go on to use its tensor.
    if (slot.defined())
      add_in_place(slot, output_grads[i]);
    else
      slot = output_grads[i].clone();
  }
  run_backward();
}

void Tape::run_backward() {
  spent_ = true;
  // What backward functions compute is not recorded. A nested tape (recomputation) may still be opened inside one.
  NoGrad pause;
  lap();
  while (!entries_.empty()) {
    // Out of the list first, so that what it saved is freed as soon as it has run.
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    if (!entry.grads.empty()) step_back(entry, size());
    if (options_.profile) time_of(entry.name).backward_ms += lap();
  }
}

void Tape::step_back(Entry& entry, int64_t index) {
  Grads gradients = entry.backward(entry.grads);
  entry.backward = nullptr;
  entry.grads.clear();
  CHECK(gradients.size() == entry.input_nodes.size(), "{}: backward returned {} gradients for {} inputs", entry.name,
        gradients.size(), entry.input_nodes.size());
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!entry.input_nodes[i]) continue;
    check_gradient(entry, i, gradients[i]);
    deliver(entry, index, i, std::move(gradients[i]));
  }
}

void Tape::check_gradient(const Entry& entry, size_t input, const Tensor& gradient) const {
  const OutputInfo& x = entry.inputs[input];
  CHECK(gradient.defined(), "{}: backward returned no gradient for input {}, which needs one", entry.name, input);
  CHECK(gradient.shape() == x.shape && gradient.dtype() == x.dtype && gradient.device() == x.device,
        "{}: backward returned {} as the gradient of input {}, which is {} {} on {}", entry.name, gradient.str(), input,
        name_of(x.dtype), x.shape.str(), x.device.str());
  if (options_.check_nan)
    CHECK(all_finite(gradient), "{}: the gradient of input {}, {}, is not finite, and the output's gradient was",
          entry.name, input, gradient.str());
}

// The first gradient is taken, not copied; later ones are added to it. In place only where nobody else can see the
// memory: an operator may return one tensor for two inputs (add does), or keep what it returns.
void Tape::deliver(const Entry& entry, int64_t index, size_t input, Tensor gradient) {
  GradNode& node = *entry.input_nodes[input];
  if (node.is_leaf()) {
    if (node.grad.defined() && node.grad.same_as(gradient)) return;  // added in place through grad_target()
    if (node.grad.defined())
      add_in_place(node.grad, gradient);
    else
      node.grad = gradient.sole_owner() ? std::move(gradient) : gradient.clone();  // a leaf's gradient is its own
    return;
  }
  CHECK(node.entry < index, "{}: input {} was recorded after its use", entry.name, input);
  Entry& source = entries_[node.entry];
  source.grads.resize(source.outputs.size());
  Tensor& slot = source.grads[node.output];
  if (!slot.defined()) {
    slot = std::move(gradient);
  } else {
    if (!slot.sole_owner()) slot = slot.clone();
    add_in_place(slot, gradient);
  }
}

std::vector<OperatorTime> Tape::times() const {
  std::vector<OperatorTime> sorted = times_;
  std::sort(sorted.begin(), sorted.end(), [](const OperatorTime& a, const OperatorTime& b) {
    return a.forward_ms + a.backward_ms > b.forward_ms + b.backward_ms;
  });
  return sorted;
}

}  // namespace tandem
