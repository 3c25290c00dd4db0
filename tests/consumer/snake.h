// snake: an operator that Tandem does not have, y = x + sin(alpha x)^2 / alpha (Ziyin, Hartwig and Ueda,
// 2020).
#pragma once
#include "core/tensor.h"

// x: (..., D), f32 or f64; alpha: (D), one frequency per channel, nothing in it 0. Returns y, shaped as x.
// Error: sizes or dtypes do not agree.
tandem::Tensor snake(const tandem::Tensor& x, const tandem::Tensor& alpha);
