// Checks exercise 1: values, and the gradient, which is compared for a constant factor first.
#include "tandem/ops/arithmetic.h"
#include "tools/exercises/check/exercise.h"

using namespace exercises;

Tensor mean_square(const Tensor& x);

EXERCISE(01) {
  const Tensor x = leaf({2, 3}, 1, 0.5, 2);
  double total = 0;
  for (const double value : x.span<double>()) total += value * value;
  expect(is_close(mean_square(x).item(), total / 6), "the forward pass was right and is not any more");

  const Function f = [](const std::vector<Tensor>& in) { return mean_square(in[0]); };
  const Tensor found = gradients(f, {x})[0], wanted = differences(f, {x})[0];
  const double factor = found.data<double>()[0] / wanted.data<double>()[0];
  bool constant = true;
  for (int64_t i = 0; i < 6; ++i)
    constant = constant && std::abs(found.data<double>()[i] / wanted.data<double>()[i] - factor) < 1e-6;
  expect(!constant || std::abs(factor - 1) < 1e-6, "the gradient of every element is " + text_of(factor) +
                                                       " times what differences of the forward pass give");
  expect_gradients(f, {x}, {"x"});
  expect_gradients([](const std::vector<Tensor>& in) { return tandem::scale(mean_square(in[0]), 3); },
                   {leaf({5}, 2)}, {"x"});
}
