// concat: tensors joined along their leading axis.
#pragma once
#include <vector>

#include "core/tensor.h"

namespace tandem {

// (N1, ...), (N2, ...), ... -> (N1 + N2 + ..., ...). Undefined tensors are left out, so that a memory that is
// still empty needs no special case. The gradients are views of the one that arrives. Error: no tensor is
// defined; they differ in dtype, device or in another axis than the leading one.
Tensor concat(const std::vector<Tensor>& xs);

}  // namespace tandem
