// Checks exercise 9: one step, then several, so that the hint tells what is missing.
#include "tools/exercises/check/exercise.h"

using namespace exercises;

Tensor linear_scan(const Tensor& a, const Tensor& x, const Tensor& h0);

EXERCISE(09) {
  const Function f = [](const std::vector<Tensor>& in) { return linear_scan(in[0], in[1], in[2]); };
  for (const int64_t steps : {int64_t{1}, int64_t{2}, int64_t{7}}) {
    const Tensor a = leaf({steps, 3}, 1), x = leaf({steps, 3}, 2), h0 = leaf({3}, 3);
    const Tensor h = linear_scan(a, x, h0);
    double wanted = h0.data<double>()[0];
    for (int64_t t = 0; t < steps; ++t) wanted = a.data<double>()[3 * t] * wanted + x.data<double>()[3 * t];
    expect(is_close(h.data<double>()[3 * (steps - 1)], wanted),
           "the forward pass was right and is not any more");
    const std::string which = " (" + std::to_string(steps) + (steps == 1 ? " step)" : " steps of 3)");
    expect_gradients(f, {a, x, h0}, {"a" + which, "x" + which, "h0" + which});
  }
}
