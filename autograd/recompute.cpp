// Recomputation by a nested tape.
#include "autograd/recompute.h"

#include "core/array.h"

namespace tandem {
namespace {

// The backward pass of a recomputed function: forward again, this time recorded, then back through that.
Grads run_again(const Function& f, const std::vector<Tensor>& saved, const std::vector<bool>& wanted,
                const Tape::Options& options, const Grads& dys) {
  Tape tape(options);
  std::vector<Tensor> inputs;
  for (size_t i = 0; i < saved.size(); ++i) {
    const Tensor x = saved[i].defined() ? saved[i].detach() : Tensor();
    inputs.push_back(wanted[i] ? requires_grad(x) : x);
  }
  const std::vector<Tensor> ys = f(inputs);
  std::vector<Tensor> outputs;
  Grads output_grads;
  for (size_t i = 0; i < ys.size(); ++i) {
    if (!dys[i].defined() || !needs_grad(ys[i])) continue;
    outputs.push_back(ys[i]);
    output_grads.push_back(dys[i]);
  }
  if (!outputs.empty()) tape.backward(outputs, output_grads);

  Grads gradients(inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!wanted[i]) continue;
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
  // An output may be an input handed through; it needs a history of its own.
  for (Tensor& y : ys)
    if (y.node()) y = y.detach();
  std::vector<Tensor> saved;
  std::vector<bool> wanted;
  for (const Tensor& x : inputs) {
    saved.push_back(x.defined() ? x.detach() : x);
    wanted.push_back(needs_grad(x));
  }
  const Tape::Options options = tape->options();
  // Appended even when no input needs a gradient: the leaves inside f may.
  tape->append(name, ys, inputs, [f, saved, wanted, options](const Grads& dys) {
    return run_again(f, saved, wanted, options, dys);
  });
  return ys;
}

}  // namespace tandem
