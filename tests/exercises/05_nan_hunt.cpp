// A right answer to exercise 5: sums that begin at 0, and a logarithm that is never of 0.
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/elementwise.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/softmax.h"

using namespace tandem;

Tensor entropy(const Tensor& logits) {
  const Tensor p = softmax(logits);
  return neg(sum(mul(p, log(p + 1e-300)), -1));
}
