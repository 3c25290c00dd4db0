// Checks exercise 2: whether each gradient arrives at its own input.
#include "tools/exercises/check/exercise.h"

using namespace exercises;

Tensor quotient(const Tensor& a, const Tensor& b);

EXERCISE(02) {
  const Tensor a = leaf({5}, 1, 1, 2), b = leaf({5}, 2, 1, 2);
  expect(is_close(quotient(a, b).data<double>()[3], a.data<double>()[3] / b.data<double>()[3]),
         "the forward pass was right and is not any more");
  const Function f = [](const std::vector<Tensor>& in) { return quotient(in[0], in[1]); };
  const std::vector<Tensor> found = gradients(f, {a, b}), wanted = differences(f, {a, b});
  const auto near = [](const Tensor& x, const Tensor& y) {
    return std::abs(x.data<double>()[0] - y.data<double>()[0]) < 1e-6;
  };
  expect(!(near(found[0], wanted[1]) && near(found[1], wanted[0])),
         "what arrives at a is the gradient of b, and the other way round");
  expect_gradients(f, {a, b}, {"a", "b"});
}
