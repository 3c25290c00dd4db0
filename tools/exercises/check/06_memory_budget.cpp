// Checks exercise 6: the peak of memory in forward and backward together, and the bits of result and gradients.
#include "tandem/autograd/recompute.h"
#include "tandem/core/host_memory.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reduce.h"
#include "tools/exercises/check/exercise.h"

using namespace exercises;

Tensor deep(const Tensor& x, const std::vector<tandem::Function>& layers);

namespace {

constexpr int64_t kWidth = 8192, kLayers = 16, kBudget = 32;  // the budget in tensors of kWidth elements

struct Pass {
  std::vector<double> result, dx, dweight;
  double peak = 0;  // in tensors of kWidth elements
};

Pass run(const std::function<Tensor(const Tensor&, const std::vector<tandem::Function>&)>& f, const Tensor& x,
         const std::vector<Tensor>& weights) {
  std::vector<tandem::Function> layers;
  for (const Tensor& w : weights)
    layers.push_back([w](const std::vector<Tensor>& in) -> std::vector<Tensor> {
      return {tandem::tanh(mul(silu(mul(sigmoid(in[0]), w)), w))};
    });
  for (const Tensor& w : weights) zero_grad(w);
  zero_grad(x);
  Pass pass;
  auto& memory = tandem::host_allocator();
  memory.reset_peak();
  const size_t before = memory.statistics().in_use;
  {
    tandem::Tape tape;
    Tensor y = f(x, layers);
    pass.result = y.to_vector<double>();
    Tensor loss = sum(mul(y, y));
    y = Tensor();
    expect(needs_grad(loss), "the result is not on the tape");
    tape.backward(loss);
  }
  pass.peak = static_cast<double>(memory.statistics().peak_in_use - before) / (kWidth * sizeof(double));
  expect(grad(x).defined() && grad(weights[0]).defined(),
         "x or the weight of the first layer gets no gradient");
  pass.dx = grad(x).to_vector<double>();
  pass.dweight = grad(weights[0]).to_vector<double>();
  return pass;
}

}  // namespace

EXERCISE(06) {
  const Tensor x = leaf({kWidth}, 1);
  std::vector<Tensor> weights;
  for (uint64_t i = 0; i < kLayers; ++i) weights.push_back(leaf({kWidth}, 2 + i));
  const auto plain = [](const Tensor& start, const std::vector<tandem::Function>& layers) {
    Tensor h = start;
    for (const auto& layer : layers) h = layer({h})[0];
    return h;
  };
  const Pass wanted = run(plain, x, weights), found = run(deep, x, weights);
  expect(found.result == wanted.result,
         "the result has other bits than that of the layers one after the other");
  expect(found.dx == wanted.dx, "the gradient of x has other bits than it should");
  expect(found.dweight == wanted.dweight,
         "the gradient of the first layer's weight has other bits than it should");
  expect(found.peak <= kBudget, "forward and backward need the memory of " + text_of(found.peak) +
                                    " activations at their peak, and the budget is " +
                                    std::to_string(kBudget) +
                                    ": save the inputs of the layers alone, and run each again in backward");
}
