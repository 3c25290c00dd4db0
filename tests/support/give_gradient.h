// A gradient of any value for a leaf, as tests of optimizers want it.
#pragma once
#include "tandem/autograd/tape.h"

namespace tandem::testing {

// Leaves `value` as the gradient of a leaf, by a backward pass.
inline void give_gradient(const Tensor& leaf, const Tensor& value) {
  Tape tape;
  const Tensor y = record("give_gradient", leaf.detach(), {leaf},
                          [value](const Tensor&) -> Grads { return {value.clone()}; });
  tape.backward({y}, {value});
}

}  // namespace tandem::testing
