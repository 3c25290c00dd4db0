// Gradients of leaves: which tensors want one, where it is kept, and how an operator adds to it in place.
#pragma once
#include <memory>

#include "core/tensor.h"

namespace tandem {

struct Bf16Weight;
struct Int8Weight;

// What the tape keeps with a tensor: a leaf owns its gradient, a result says which tape entry made it.
struct GradNode {
  uint64_t tape = 0;   // id of the tape that recorded it; 0 for a leaf
  int64_t entry = -1;  // index on that tape
  int output = 0;      // which of the entry's outputs
  Tensor grad;         // of a leaf; undefined until a backward pass reaches it
  // A leaf's elements rounded to bf16, for GPU kernels (ops/support/weight_cache.h), and the version they were made from.
  Tensor low_precision;
  uint64_t low_precision_version = 0;
  std::shared_ptr<const Int8Weight>
      int8;  // a leaf's 8-bit form (ops/support/weight_cache.h), and the version it stands for
  uint64_t int8_version = 0;
  std::shared_ptr<const Bf16Weight> packed;  // a leaf's packed bf16 form, the same way
  uint64_t packed_version = 0;

  bool is_leaf() const { return tape == 0; }
};

// Marks x as a leaf whose gradient is wanted (a parameter, an input under test) and returns it.
// Error: x is not floating, or is the result of a recorded operator.
Tensor requires_grad(const Tensor& x);

// True when a gradient must flow to x: a leaf, or recorded on a tape. Operators ask before computing dx.
bool needs_grad(const Tensor& x);

// The gradient that backward passes have added up in a leaf; undefined when there is none yet.
Tensor grad(const Tensor& leaf);

// Forgets the gradient, so that the next backward pass starts from zero. Other leaves keep theirs.
void zero_grad(const Tensor& leaf);

// Where an operator may leave the gradient of w. For a leaf it is the leaf's own gradient, and `accumulate`
// says that it holds something to add to (GEMM beta 1); else it is fresh memory to overwrite. Return `grad`
// from the backward function either way: the tape sees that it is already in place.
struct GradTarget {
  Tensor grad;
  bool accumulate = false;
};
GradTarget grad_target(const Tensor& w);
GradTarget target_if_wanted(const Tensor& w);  // the same, or undefined where !needs_grad(w)

}  // namespace tandem
