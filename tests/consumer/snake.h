// snake: y = x + sin(alpha x)^2 / alpha, an operator that Tandem does not have.
//
// Ziyin, Hartwig and Ueda, "Neural networks fail to learn periodic functions and how to fix it" (NeurIPS 2020).
#pragma once
#include "tandem/core/tensor.h"

// Computes y from x (..., D) and alpha (D), one frequency for each channel, which must not be 0. Both are f32
// or both are f64. Error: sizes or dtypes do not agree.
tandem::Tensor snake(const tandem::Tensor& x, const tandem::Tensor& alpha);
