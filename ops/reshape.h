// reshape: the same elements under another shape.
#pragma once
#include "core/tensor.h"

namespace tandem {

// A view: no element is copied, forward or backward. Error: another number of elements.
Tensor reshape(const Tensor& x, Shape shape);

}  // namespace tandem
