// reduce: sum and mean over all elements or over one axis, formed in f64.
#pragma once
#include "tandem/core/tensor.h"
#include "tandem/ops/support/axis_split.h"

namespace tandem {

// Return the sum or the mean of all elements, of shape (). Error: the mean of no elements; x is not floating.
Tensor sum(const Tensor& x);
Tensor mean(const Tensor& x);

// Return the sum or the mean over one axis, which disappears: (A, B, C) over axis 1 gives (A, C). Axis -1 is
// the last.
// Error: no such axis; a mean over an axis of size 0; x is not floating.
Tensor sum(const Tensor& x, int axis);
Tensor mean(const Tensor& x, int axis);

namespace cpu {
// y (outer, inner) = factor * (sum of x over the axis `count`), added to y if `accumulate`. On a GPU x may be bf16 where
// y is f32.
void sum_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor, bool accumulate);
// y (outer, count, inner) = factor * x (outer, inner), repeated.
void repeat_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor);
}  // namespace cpu

namespace cuda {
void sum_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor, bool accumulate);
void repeat_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor);
}  // namespace cuda

}  // namespace tandem
