// Recording operators and walking the tape backwards.
#include "tandem/autograd/tape.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "tandem/autograd/copies.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"

namespace tandem {

namespace {

std::atomic<uint64_t> next_tape_id{1};

// core/ knows no tape.
[[maybe_unused]] const bool copies_are_recorded = (detail::record_copy = record_copy, true);

// Calls a backward function. An error in it names the operator, whose forward pass is long over.
Grads run_backward(const char* name, const BackwardMany& backward, Grads dys) {
  const auto named = [name](const std::string& message) {
    return message.starts_with(name) ? message : fmt::format("{}: in its backward pass: {}", name, message);
  };
  try {
    return backward(std::move(dys));
  } catch (const OutOfMemory& error) {
    throw OutOfMemory(named(error.what()));
  } catch (const Error& error) {
    throw Error(named(error.what()));
  }
}

}  // namespace

struct RecordingScope::State {
  Tape* tape;  // null: recording is paused
  std::atomic<bool> ended{false};
};

// Returns the scopes of this thread that have not ended, in the order in which they began. The end of a scope only sets
// its flag, so it may come on any thread and in any order; the thread drops ended scopes when it looks again.
std::vector<std::shared_ptr<RecordingScope::State>>& RecordingScope::of_thread() {
  thread_local std::vector<std::shared_ptr<State>> scopes;
  std::erase_if(scopes, [](const std::shared_ptr<State>& scope) { return scope->ended.load(); });
  return scopes;
}

RecordingScope::RecordingScope(Tape* tape) : state_(new State{tape}) {
  of_thread().push_back(state_);
}

RecordingScope::~RecordingScope() {
  state_->ended = true;
}

Tape::Tape(Options options) : instruments_(std::move(options)), id_(next_tape_id++), scope_(this) {}

Tape* Tape::current() {
  const auto& scopes = RecordingScope::of_thread();
  return scopes.empty() ? nullptr : scopes.back()->tape;
}

Tensor record(const char* name, const Tensor& y, std::vector<Tensor> inputs, Backward backward) {
  TANDEM_CHECK(name && backward, "record: the operator {} has no {}", name ? name : "",
               name ? "backward function" : "name");
  return record(name, std::vector<Tensor>{y}, std::move(inputs),
                [backward = std::move(backward)](const Grads& dys) { return backward(dys[0]); })[0];
}

std::vector<Tensor> record(const char* name, std::vector<Tensor> ys, std::vector<Tensor> inputs,
                           BackwardMany backward) {
  TANDEM_CHECK(name && backward, "record: the operator {} has no {}", name ? name : "",
               name ? "backward function" : "name");
  Tape* tape = Tape::current();
  if (tape && std::any_of(inputs.begin(), inputs.end(), needs_grad))
    tape->append(name, ys, inputs, std::move(backward));
  return ys;
}

void Tape::append(const char* name, const std::vector<Tensor>& ys, const std::vector<Tensor>& inputs,
                  BackwardMany backward) {
  TANDEM_CHECK(!spent_, "{}: recorded on a tape whose backward pass is over; make a new Tape for every pass",
               name);
  Entry entry;
  entry.name = name;
  entry.backward = std::move(backward);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& x = inputs[i];
    const bool wanted = needs_grad(x);
    TANDEM_CHECK(
        !wanted || x.node()->is_leaf() || x.node()->tape == id_,
        "{}: input {}, {}, was recorded on another tape (an outer one, or one that is spent); detach() it "
        "to carry only its value over",
        name, i, x.summary());
    entry.inputs.push_back(wanted ? TensorMeta{x.shape(), x.dtype(), x.device()} : TensorMeta());
    entry.input_nodes.push_back(wanted ? x.node() : nullptr);
    if (wanted && x.node()->is_leaf()) instruments_.note_input(x.node(), size());
  }
  // All checks come before any output is marked: a refused entry leaves no trace.
  for (size_t i = 0; i < ys.size(); ++i) {
    TANDEM_CHECK(ys[i].defined(), "{}: output {} is undefined; an operator records what it made", name, i);
    TANDEM_CHECK(!ys[i].node(),
                 "{}: output {}, {}, already has a history; return a new tensor (detach() makes one)", name,
                 i, ys[i].summary());
    for (size_t k = 0; k < i; ++k)
      TANDEM_CHECK(!ys[k].same_as(ys[i]), "{}: outputs {} and {} are one tensor; detach() makes two", name, k,
                   i);
  }
  instruments_.check_outputs(name, size(), ys, inputs);
  for (size_t i = 0; i < ys.size(); ++i) {
    const Tensor& y = ys[i];
    entry.outputs.push_back({y.shape(), y.dtype(), y.device()});
    if (!is_floating(y.dtype())) continue;  // an index or a count: there is nothing to differentiate
    y.set_node(std::make_shared<GradNode>(GradNode{id_, size(), static_cast<int>(i), {}, {}, {}}));
  }
  entry.forward_ms = instruments_.forward_done(name, ys);
  entries_.push_back(std::move(entry));
}

void Tape::backward(const Tensor& loss) {
  TANDEM_CHECK(
      loss.numel() == 1,
      "backward: needs a loss of one element, got {}; reduce it with sum() or mean(), or give the gradient "
      "that flows into it",
      loss.summary());
  backward({loss}, {full(loss.shape(), 1.0, loss.dtype(), loss.device())});
}

void Tape::backward(std::vector<Tensor> outputs, Grads output_grads) {
  TANDEM_CHECK(
      !spent_,
      "backward: this tape is spent: its entries were freed as the first backward pass went; run the "
      "forward pass again under a new Tape");
  TANDEM_CHECK(outputs.size() == output_grads.size(), "backward: {} outputs but {} gradients", outputs.size(),
               output_grads.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& y = outputs[i];
    const Tensor& dy = output_grads[i];
    TANDEM_CHECK(
        needs_grad(y) && (y.node()->is_leaf() || y.node()->tape == id_),
        "backward: output {}, {}, was not recorded on this tape: nothing that needs a gradient led to it, "
        "or another tape was current",
        i, y.summary());
    if (!dy.defined()) continue;
    TANDEM_CHECK(dy.shape() == y.shape() && dy.dtype() == y.dtype() && dy.device() == y.device(),
                 "backward: output {} is {}, its gradient {}", i, y.summary(), dy.summary());
    instruments_.check_given_gradient(i, y, dy);
  }
  for (size_t i = 0; i < outputs.size(); ++i)
    if (output_grads[i].defined()) deliver(*outputs[i].node(), std::move(output_grads[i]));
  outputs.clear();
  output_grads.clear();

  spent_ = true;
  const NoGrad pause;  // backward functions are not recorded; a nested tape (recomputation) may still record
  instruments_.backward_begins();
  while (!entries_.empty()) {
    // The entry leaves the list first, so that what it saved is freed as soon as it has run.
    Entry entry = std::move(entries_.back());
    entries_.pop_back();
    if (!entry.grads.empty()) step_back(entry);
    instruments_.note_passed(size());
    instruments_.backward_done(entry.name);
  }
}

void Tape::step_back(Entry& entry) {
  Grads gradients = run_backward(entry.name, entry.backward, std::move(entry.grads));
  entry.backward = nullptr;
  TANDEM_CHECK(gradients.size() == entry.input_nodes.size(),
               "{}: backward returned {} gradients for {} inputs", entry.name, gradients.size(),
               entry.input_nodes.size());
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (!entry.input_nodes[i]) continue;
    const Tensor& dx = gradients[i];
    const TensorMeta& x = entry.inputs[i];
    TANDEM_CHECK(dx.defined(), "{}: backward returned no gradient for input {}, which needs one", entry.name,
                 i);
    TANDEM_CHECK(dx.shape() == x.shape && dx.dtype() == x.dtype && dx.device() == x.device,
                 "{}: backward returned {} as the gradient of input {}, which is {} {} on {}", entry.name,
                 dx.summary(), i, name_of(x.dtype), x.shape.str(), x.device.str());
    instruments_.check_gradient(entry.name, size(), i, dx);
    if (entry.input_nodes[i]->is_leaf()) instruments_.note_leaf(entry.name, entry.input_nodes[i], x.shape);
    deliver(*entry.input_nodes[i], std::move(gradients[i]));
  }
}

// Takes the first gradient without a copy and adds later ones to it. It adds in place only if no one else can see the
// memory: an operator may return one tensor for two inputs (add does), or keep what it returns.
void Tape::deliver(GradNode& node, Tensor gradient) {
  if (node.is_leaf()) {
    if (node.grad.defined() && node.grad.same_as(gradient)) return;  // added in place through grad_target()
    if (node.grad.defined())
      add_in_place(node.grad, gradient);
    else  // a leaf shares its gradient's memory with no other tensor
      node.grad = gradient.sole_owner() ? std::move(gradient) : gradient.clone();
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

}  // namespace tandem
