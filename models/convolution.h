// What models that convolve over time share: the rows of the past that a filter needs.
#pragma once
#include "core/tensor.h"

namespace tandem {

// The prefix that ops/causal_conv takes with the rows after x: the last width - 1 rows of (prefix, x), zeros
// where the text had not begun. x is (T, B, C), `prefix` (width - 1, B, C) or undefined. Without gradient.
Tensor next_prefix(const Tensor& prefix, const Tensor& x, int64_t width);

}  // namespace tandem
