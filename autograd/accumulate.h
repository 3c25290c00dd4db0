// Adding to a parameter's gradient in place, for operators whose kernels can (GEMM with beta = 1). It saves a temporary
// of the parameter's size and a pass over it. An operator that simply returns a new tensor is right too.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Tells a backward function where to write the gradient of an input, and how. It returns `grad` in either case:
// the tape sees that a leaf's gradient is already in place.
struct GradTarget {
  Tensor grad;
  bool accumulate = false;  // true: add to what grad holds; false: overwrite it, its memory is uninitialised
};

// Returns the buffer for the gradient of w. If w is a leaf, this is the leaf's own gradient; if w is a result, new
// memory of w's shape, dtype and device; if w needs no gradient, an undefined tensor.
GradTarget grad_target(const Tensor& w);

}  // namespace tandem
