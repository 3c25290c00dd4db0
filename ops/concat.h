// concat: concat and concat_columns, tensors joined along their leading or their last axis.
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
