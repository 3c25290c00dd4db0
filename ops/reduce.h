// sum and mean: over all elements, or over one axis.
#pragma once
#include "core/tensor.h"

namespace tandem {

// Over all elements: shape (). The mean of no elements is an error.
Tensor sum(const Tensor& x);
Tensor mean(const Tensor& x);

// Over one axis, which disappears: (A, B, C) over axis 1 gives (A, C); -1 is the last. Sums are formed in
// f64. Error: no such axis; a mean over an axis of size 0.
Tensor sum(const Tensor& x, int axis);
Tensor mean(const Tensor& x, int axis);

// A tensor seen as (outer, count, inner): the middle is what is summed.
struct AxisSplit {
  int64_t outer, count, inner;
};

namespace cpu {
// y (outer, inner) = factor * sum of x over `count`; added to what y holds if `accumulate`.
void sum_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor, bool accumulate);
// y (outer, count, inner) = factor * x (outer, inner), repeated.
void repeat_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor);
}  // namespace cpu

namespace cuda {
// y's dtype may differ from x's: that of a parameter beside bf16.
void sum_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor, bool accumulate);
void repeat_axis(const Tensor& y, const Tensor& x, AxisSplit split, double factor);
}  // namespace cuda

}  // namespace tandem
