// Exercise 1, a wrong factor: the forward pass of mean_square() is right, its backward pass is not.
//
// Derive the gradient of y = (x_1^2 + ... + x_n^2) / n on paper, then find the mistake below.
#include "tandem/autograd/tape.h"

using namespace tandem;

// Computes the mean of the squares of x, f64 of any shape; the result is a number, of shape ().
Tensor mean_square(const Tensor& x) {
  double total = 0;
  for (const double value : x.span<double>()) total += value * value;
  const double n = static_cast<double>(x.numel());
  return record("mean_square", full({}, total / n, DType::f64), {x}, [x, n](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(x);
    for (int64_t i = 0; i < x.numel(); ++i) dx.data<double>()[i] = dy.item() * x.data<double>()[i] / n;
    return {dx};
  });
}
