// Leaves: the tensors whose gradient is wanted (parameters, inputs under test), and where that gradient is kept.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "tandem/core/tensor.h"

namespace tandem {

// Base of what other layers attach to a leaf, such as copies of a weight in other formats. Opaque here.
struct LeafExtension {
  virtual ~LeafExtension() = default;
};

// The record that autograd keeps with a tensor that needs a gradient. A leaf owns its gradient; a result of a
// recorded operator names the tape entry that made it. A node points to no other tensor.
struct GradNode {
  uint64_t tape = 0;   // id of the tape that recorded the tensor; 0 for a leaf
  int64_t entry = -1;  // index of the entry on that tape
  int output = 0;      // which of the entry's outputs
  Tensor grad;         // the gradient of a leaf; undefined until a backward pass reaches it
  std::shared_ptr<LeafExtension> extension;  // null unless a layer above has attached something
  std::string name;                          // of a leaf, for Tape::dump(); empty if it was given none

  bool is_leaf() const { return tape == 0; }
};

// Marks x as a leaf and returns it. Error: x is not floating, or is the result of a recorded operator.
Tensor requires_grad(const Tensor& x);
// Does the same and gives the leaf a name, which Tape::dump() shows; a later name replaces it. A model's parameters are
// named by
//     for (const NamedTensor& parameter : model.parameters()) requires_grad(parameter.value, parameter.name);
// Error: as above; the name is empty.
Tensor requires_grad(const Tensor& x, std::string name);

// Returns true if a gradient must flow to x: a leaf, or a tensor recorded on a tape. Operators ask before they compute
// or save anything for dx.
bool needs_grad(const Tensor& x);

// Returns the gradient that backward passes have added up in a leaf; undefined if there is none yet. Error: not a leaf.
Tensor grad(const Tensor& leaf);

// Drops the gradient of this leaf, so that the next backward pass starts from zero. Error: not a leaf.
void zero_grad(const Tensor& leaf);

}  // namespace tandem
