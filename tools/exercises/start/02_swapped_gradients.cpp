// Exercise 2, swapped gradients: a and b have one shape, so the tape cannot notice what is wrong in quotient().
//
// gradcheck() would; but reading the backward function beside the list of inputs is enough.
#include "tandem/autograd/tape.h"

using namespace tandem;

// Computes y = a / b, element by element. a and b are f64 of one shape.
Tensor quotient(const Tensor& a, const Tensor& b) {
  Tensor y = empty_like(a);
  for (int64_t i = 0; i < a.numel(); ++i) y.data<double>()[i] = a.data<double>()[i] / b.data<double>()[i];
  return record("quotient", y, {a, b}, [a, b](const Tensor& dy) -> Grads {
    Tensor da = empty_like(a), db = empty_like(b);
    for (int64_t i = 0; i < a.numel(); ++i) {
      const double up = dy.data<double>()[i], x = a.data<double>()[i], z = b.data<double>()[i];
      da.data<double>()[i] = -up * x / (z * z);
      db.data<double>()[i] = up / z;
    }
    return {da, db};
  });
}
