// reshape: the same elements under another shape, as a view.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Returns a view of x: neither forward nor backward copies an element. Error: `shape` has another number of
// elements.
Tensor reshape(const Tensor& x, Shape shape);

}  // namespace tandem
