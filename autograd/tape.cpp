// Recording operators and walking the tape backwards.
#include "autograd/tape.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>

#include "core/array.h"
#include "core/backend.h"
#include "core/check.h"
#include "core/dispatch.h"

namespace tandem {
namespace {

thread_local Tape* current_tape = nullptr;

std::atomic<uint64_t> next_tape_id{1};

double clock_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

// A profile reads the clock when the device has done what it was asked to.
template <class Entry>
void wait_for_device_of(const Entry& entry) {
  if constexpr (kWithCuda)
    if (!entry.outputs.empty() && entry.outputs[0].device.is_cuda()) cuda::synchronize();
}

}  // namespace

Tape::Tape(Options options) : options_(options), id_(next_tape_id++), outer_(current_tape) {
  current_tape = this;
  last_ms_ = clock_ms();
}

Tape::~Tape() {
  current_tape = outer_;
}

Tape* Tape::current() {
  return current_tape;
}

NoGrad::NoGrad() : paused_(current_tape) {
  current_tape = nullptr;
}
NoGrad::~NoGrad() {
  current_tape = paused_;
}

// Milliseconds since the last call: what passed between two entries is the time of the later one.
double Tape::lap() {
  const double now_ms = clock_ms();
  return now_ms - std::exchange(last_ms_, now_ms);
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
          "{}: input {}, {}, was recorded on another tape (an outer one, or one that is spent); detach() it "
          "to carry only its value over",
          name, i, x.str());
    entry.inputs.push_back({x.shape(), x.dtype(), x.device()});
    entry.input_nodes.push_back(x.node());
  }
  // All checks first: an output refused leaves no other marked with an entry that does not exist.
  for (size_t i = 0; i < ys.size(); ++i) {
    CHECK(ys[i].defined(), "{}: output {} is undefined; an operator records what it made", name, i);
    CHECK(!ys[i].node(), "{}: output {}, {}, already has a history; return a new tensor (detach() makes one)",
          name, i, ys[i].str());
    for (size_t k = 0; k < i; ++k)
      CHECK(!ys[k].same_as(ys[i]), "{}: outputs {} and {} are one tensor; detach() makes two", name, k, i);
    if (options_.check_nan) check_output(name, i, ys[i], inputs);
  }
  for (size_t i = 0; i < ys.size(); ++i) {
    const Tensor& y = ys[i];
    entry.outputs.push_back({y.shape(), y.dtype(), y.device()});
    if (!is_floating(y.dtype())) continue;  // an index or a count: nothing to differentiate
    auto node = std::make_shared<GradNode>();
    node->tape = id_;
    node->entry = size();
    node->output = static_cast<int>(i);
    y.set_node(std::move(node));
  }
  if (options_.profile) wait_for_device_of(entry);
  entry.forward_ms = lap();
  if (options_.profile) {
    OperatorTime& time = time_of(name);
    ++time.calls;
    time.forward_ms += entry.forward_ms;
  }
  entries_.push_back(std::move(entry));
}

void Tape::check_output(const char* name, size_t output, const Tensor& y,
                        const std::vector<Tensor>& inputs) const {
  if (all_finite(y)) return;
  // What was never recorded was never checked, so the fault may have come in with an input.
  for (size_t i = 0; i < inputs.size(); ++i)
    CHECK(!inputs[i].defined() || all_finite(inputs[i]), "{}: input {}, {}, of entry {} is not finite", name,
          i, inputs[i].str(), size());
  detail::fail("{}: output {}, {}, of entry {} is not finite, and its inputs are", name, output, y.str(),
               size());
}

void Tape::backward(const Tensor& loss) {
  CHECK(loss.numel() == 1,
        "backward: needs a loss of one element, got {}; reduce it with "
        "sum() or mean(), or give the gradient that flows into it",
        loss.str());
  backward({loss}, {full(loss.shape(), 1.0, loss.dtype(), loss.device())});
}

void Tape::backward(std::vector<Tensor> outputs, Grads output_grads) {
  CHECK(!spent_,
        "backward: this tape is spent: its entries were freed as the first backward pass went; run the "
        "forward pass again under a new Tape");
  CHECK(outputs.size() == output_grads.size(), "backward: {} outputs but {} gradients", outputs.size(),
        output_grads.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& y = outputs[i];
    const Tensor& dy = output_grads[i];
    CHECK(needs_grad(y) && (y.node()->is_leaf() || y.node()->tape == id_),
          "backward: output {}, {}, was not recorded on this tape: nothing that needs a gradient led to it, "
          "or another tape was current",
          i, y.str());
    if (!dy.defined()) continue;
    CHECK(dy.shape() == y.shape() && dy.dtype() == y.dtype() && dy.device() == y.device(),
          "backward: output {} is {}, its gradient {}", i, y.str(), dy.str());
    if (options_.check_nan)
      CHECK(all_finite(dy), "backward: the gradient given for output {}, {}, is not finite", i, y.str());
  }
  for (size_t i = 0; i < outputs.size(); ++i)
    if (output_grads[i].defined()) deliver(*outputs[i].node(), std::move(output_grads[i]));
  outputs.clear();
  output_grads.clear();
  run_backward();
}

void Tape::run_backward() {
  spent_ = true;
  // What backward functions compute is not recorded; a nested tape (recomputation) may still be opened there.
  NoGrad pause;
  if (options_.profile && !entries_.empty()) wait_for_device_of(entries_.back());
  lap();
  while (!entries_.empty()) {
    // Out of the list first, so that what it saved is freed as soon as it has run.
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    if (!entry.grads.empty()) step_back(entry);
    if (!options_.profile) continue;
    wait_for_device_of(entry);
    time_of(entry.name).backward_ms += lap();
  }
}

void Tape::step_back(Entry& entry) {
  Grads gradients = entry.backward(std::move(entry.grads));
  entry.backward = nullptr;
  CHECK(gradients.size() == entry.input_nodes.size(), "{}: backward returned {} gradients for {} inputs",
        entry.name, gradients.size(), entry.input_nodes.size());
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!entry.input_nodes[i]) continue;
    check_gradient(entry, i, gradients[i]);
    deliver(*entry.input_nodes[i], std::move(gradients[i]));
  }
}

void Tape::check_gradient(const Entry& entry, size_t input, const Tensor& gradient) const {
  const OutputInfo& x = entry.inputs[input];
  CHECK(gradient.defined(), "{}: backward returned no gradient for input {}, which needs one", entry.name,
        input);
  CHECK(gradient.shape() == x.shape && gradient.dtype() == x.dtype && gradient.device() == x.device,
        "{}: backward returned {} as the gradient of input {}, which is {} {} on {}", entry.name,
        gradient.str(), input, name_of(x.dtype), x.shape.str(), x.device.str());
  if (options_.check_nan)
    CHECK(all_finite(gradient),
          "{}: the gradient of input {}, {}, of entry {} is not finite, and the output's is", entry.name,
          input, gradient.str(), size());
}

// The first gradient is taken, not copied; later ones are added to it. In place only where nobody else can
// see the memory: an operator may return one tensor for two inputs (add does), or keep what it returns.
void Tape::deliver(GradNode& node, Tensor gradient) {
  if (node.is_leaf()) {
    if (node.grad.defined() && node.grad.same_as(gradient)) return;  // added in place through grad_target()
    if (node.grad.defined())
      add_in_place(node.grad, gradient);
    else
      node.grad =
          gradient.sole_owner() ? std::move(gradient) : gradient.clone();  // a leaf's gradient is its own
    return;
  }
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
