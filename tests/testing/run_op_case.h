// Runs a case on any device: forward, and backward from random gradients.
#pragma once
#include "tandem/testing/op_case.h"

namespace tandem::testing {

inline constexpr uint64_t kSeed = 17;  // of the inputs of all checks

// Returns whether x is a floating tensor, whose values are compared and whose gradients are asked for.
bool is_checked(const Tensor& x);
// Return the tensors with the floating ones in another dtype; in memory of their own.
Tensors converted(const Tensors& xs, DType dtype);
Tensors clones(const Tensors& xs);
// Returns whether shapes, dtypes, devices and all bits agree.
bool same_bits(const Tensors& a, const Tensors& b);

struct Result {
  Tensors outputs;
  Tensors gradients;  // of the inputs; undefined if not asked for
};

// The operator y = x. Its result is not a leaf, so the gradient arrives in memory of its own.
Tensor pass_through(const Tensor& x);

struct Differentiate {
  int only = -1;         // index of the only input whose gradient is asked for; -1: all
  bool through = false;  // inputs reach the operator as results of pass_through() instead of leaves
  int passes = 1;        // number of backward passes, whose gradients add up in the leaves
};

// Runs the case under a tape, then backward from random gradients of the outputs, which are the same in every
// dtype.
Result differentiate(const OpCase& op_case, const Tensors& inputs, const Differentiate& how = {});

}  // namespace tandem::testing
