// concat: concat and concat_columns, tensors joined along their leading or their last axis, and stack, along a new one.
#pragma once
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

// Joins (N1, ...), (N2, ...), ... to (N1 + N2 + ..., ...). Undefined tensors are left out, so that a memory
// that is still empty needs no special case. The gradients are views of dy.
// Error: no tensor is defined; they differ in dtype, device or an axis other than the leading one.
Tensor concat(const std::vector<Tensor>& xs);

// Joins (..., N1), (..., N2), ... to (..., N1 + N2 + ...).
// Error: no tensor; they differ in dtype, device or an axis other than the last; they are not floating.
Tensor concat_columns(const std::vector<Tensor>& xs);

// Joins n tensors of one shape along a new axis of size n, which is axis `axis` of the result: three (A, B) give
// (3, A, B) for axis 0, (A, B, 3) for axis 2 or -1. For axis 0 they may have any dtype.
// Error: no tensor; one is undefined; they differ in shape, dtype or device; no such axis; not floating.
Tensor stack(const std::vector<Tensor>& xs, int axis = 0);

// The columns begin, begin + 1, ... of x (..., N).
struct Columns {
  Tensor x;
  int64_t begin = 0;
};

namespace cpu {
// Copies `columns` columns of `from` to `to`, row by row.
void copy_columns(const Columns& to, const Columns& from, int64_t columns);
}  // namespace cpu

namespace cuda {
void copy_columns(const Columns& to, const Columns& from, int64_t columns);
}  // namespace cuda

}  // namespace tandem
