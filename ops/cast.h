// cast: the same values in another floating dtype, with a gradient.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Returns x rounded to `dtype`; its gradient is rounded back to x's dtype. In the same dtype the result is a view.
// Tensor::to() does the same, and takes integers too, which end the gradient without a word; cast() refuses them. Error: x
// or dtype is not floating.
Tensor cast(const Tensor& x, DType dtype);

}  // namespace tandem
