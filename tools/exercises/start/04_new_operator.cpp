// Exercise 4, a new operator: y = log(cosh(x)), a loss that is x^2 / 2 near 0 and |x| far from it.
//
// Compute it, and its gradient, and record() it under the name "log_cosh". cosh(800) is more than an f64 can hold, and
// yet log(cosh(800)) is only 799.31: rewrite the formula so that nothing overflows.
#include "tandem/autograd/tape.h"

using namespace tandem;

// Computes y = log(cosh(x)), element by element, for x in f64 of any shape.
Tensor log_cosh(const Tensor& x) {
  return x.clone();
}
