// Recomputation by a nested tape.
#include "tandem/autograd/recompute.h"

#include <algorithm>

#include "tandem/core/array.h"
#include "tandem/core/check.h"

namespace tandem {
namespace {

// Returns the tensors without history; as leaves where a gradient is wanted.
std::vector<Tensor> as_leaves(const std::vector<Tensor>& xs) {
  std::vector<Tensor> leaves;
  for (const Tensor& x : xs) {
    leaves.push_back(x.defined() ? x.detach() : x);
    if (needs_grad(x)) requires_grad(leaves.back());
  }
  return leaves;
}

// Runs f again, this time recorded, and goes back through it. The outputs are needed for their history alone: they are
// freed, with the gradients that flow into them, before the walk.
Grads run_again(const char* name, const Function& f, const std::vector<Tensor>& saved,
                const Tape::Options& options, Grads dys) {
  Tape tape(options);
  const std::vector<Tensor> inputs = as_leaves(saved);
  std::vector<Tensor> ys = f(inputs);
  TANDEM_CHECK(ys.size() == dys.size(), "{}: recomputation gave {} outputs, the first time it was {}", name,
               ys.size(), dys.size());
  std::vector<Tensor> outputs;
  Grads output_grads;
  for (size_t i = 0; i < ys.size(); ++i) {
    if (!dys[i].defined() || !needs_grad(ys[i])) continue;
    outputs.push_back(std::move(ys[i]));
    output_grads.push_back(std::move(dys[i]));
  }
  ys.clear();
  if (!outputs.empty()) tape.backward(std::move(outputs), std::move(output_grads));
  if (options.leaves)  // f's inputs are leaves of this tape alone
    std::erase_if(*options.leaves, [&inputs](const LeafUse& use) {
      return std::any_of(inputs.begin(), inputs.end(),
                         [&use](const Tensor& x) { return needs_grad(x) && x.node() == use.leaf; });
    });

  Grads gradients(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!needs_grad(inputs[i])) continue;
    gradients[i] = grad(inputs[i]);
    if (!gradients[i].defined()) gradients[i] = zeros_like(inputs[i]);  // f does not depend on it
  }
  return gradients;
}

}  // namespace

std::vector<Tensor> recompute(const char* name, Function f, const std::vector<Tensor>& inputs) {
  Tape* tape = Tape::current();
  if (!tape) return f(inputs);
  std::vector<Tensor> ys;
  {
    NoGrad pause;
    ys = f(inputs);
  }
  Tape::Options options = tape->options();
  options.on_backward = nullptr, options.on_final = nullptr;  // this tape alone sees all uses of a leaf
  if (options.check_nan && !std::all_of(ys.begin(), ys.end(), all_finite)) {
    Tape finder(options);  // run f again, recorded, so that the error names the operator inside f
    f(as_leaves(inputs));
  }
  // f may return an input or the same tensor twice, but each output needs a history of its own.
  for (Tensor& y : ys) y = y.detach();
  tape->instruments_.note_hidden_inputs();
  // Appended even if no input needs a gradient, because leaves used inside f may.
  tape->append(name, ys, inputs, [name, f, inputs, options](Grads dys) {
    return run_again(name, f, inputs, options, std::move(dys));
  });
  return ys;
}

}  // namespace tandem
