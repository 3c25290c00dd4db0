// cast: the same values in another floating dtype, with a gradient.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Returns x rounded to `dtype`; its gradient is rounded back to x's dtype. In the same dtype the result is a view.
// Tensor::to() converts as well, but leaves the tape: what it returns has no history. Error: x or dtype is not floating.
Tensor cast(const Tensor& x, DType dtype);

}  // namespace tandem
