// Copies on the tape: what Tensor::clone() and Tensor::to() call when they copy a tensor that needs a gradient.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Records y, a copy of x made by `function`, on the current tape, and returns it tracked. Returns y as it is if nothing is
// recorded, if the tape is spent (a result that is only looked at afterwards needs no history), or if y is of integers.
Tensor record_copy(const char* function, const Tensor& y, const Tensor& x);

}  // namespace tandem
