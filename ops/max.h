// max: max and argmax over one axis.
#pragma once
#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/support/axis_split.h"

namespace tandem {

// Returns the largest element along an axis, which disappears: (A, B, C) over axis 1 gives (A, C). Axis -1 is the last. NaN
// counts as the largest, so that it is not hidden. The gradient goes to the first of equal elements.
// Error: no such axis, or one of size 0; x is not floating.
Tensor max(const Tensor& x, int axis = -1);

// Returns the index of that element along the axis, i32: the first of equal ones. There is no gradient. Error: as max();
// the axis has 2^31 elements or more.
Tensor argmax(const Tensor& x, int axis = -1);

// Returns whether x is to replace y as the largest element.
template <class C>
TANDEM_HD TANDEM_INLINE bool exceeds(C x, C y) {
  return x > y || (x != x && y == y);
}

namespace cpu {
// y (outer, inner) receives the largest elements of x (outer, count, inner), index, i32, where along `count` they stand.
void max_forward(const Tensor& y, const Tensor& index, const Tensor& x, AxisSplit split);
// dx (outer, count, inner) = dy where the index is, else 0.
void max_backward(const Tensor& dx, const Tensor& dy, const Tensor& index, AxisSplit split);
}  // namespace cpu

namespace cuda {
void max_forward(const Tensor& y, const Tensor& index, const Tensor& x, AxisSplit split);
void max_backward(const Tensor& dx, const Tensor& dy, const Tensor& index, AxisSplit split);
}  // namespace cuda

}  // namespace tandem
