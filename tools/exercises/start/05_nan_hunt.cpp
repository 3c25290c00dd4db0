// Exercise 5, a NaN hunt: entropy() should be a number for any logits, and often is NaN. There are two mistakes.
//
// Two instruments find them. Tape({.check_nan = true}) names the first operator whose result is not finite; and the check
// runs with TANDEM_ALLOCATOR=poison in its environment, with which new memory is NaN instead of whatever was there: a
// result that is right without it and NaN with it comes from memory that nobody wrote.
#include "tandem/autograd/tape.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/elementwise.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/softmax.h"

using namespace tandem;

namespace {

// Returns the sum of each row of x (N, D), f64, as (N).
Tensor row_sums(const Tensor& x) {
  const int64_t rows = x.size(0), width = x.size(1);
  Tensor y({rows}, DType::f64);
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t d = 0; d < width; ++d) y.data<double>()[n] += x.data<double>()[n * width + d];
  return record("row_sums", y, {x}, [rows, width](const Tensor& dy) -> Grads {
    Tensor dx({rows, width}, DType::f64);
    for (int64_t n = 0; n < rows; ++n)
      for (int64_t d = 0; d < width; ++d) dx.data<double>()[n * width + d] = dy.data<double>()[n];
    return {dx};
  });
}

}  // namespace

// Returns the entropy -sum p log p of each row's softmax p, (N, D) to (N).
Tensor entropy(const Tensor& logits) {
  const Tensor p = softmax(logits);
  return neg(row_sums(mul(p, log(p))));
}
