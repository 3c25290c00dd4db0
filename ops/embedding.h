// embedding: one row of a table for every id.
#pragma once
#include "core/tensor.h"

namespace tandem {

// ids (...) i32, table (V, D) -> (..., D): y[...] = table[ids[...]].
// The table's gradient adds up in place, in the order of the ids: the same bits whatever the number of
// threads. Error: ids not i32, or one outside 0..V-1 (value and position are named); table not floating (V,
// D).
Tensor embedding(const Tensor& ids, const Tensor& table);

namespace cpu {
void embedding_forward(const Tensor& y, const Tensor& ids, const Tensor& table);
// dtable[ids[i]] += dy[i]; overwritten instead, unmentioned rows with 0, unless `accumulate`.
void embedding_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids, bool accumulate);
}  // namespace cpu

namespace cuda {
void embedding_forward(const Tensor& y, const Tensor& ids, const Tensor& table);
void embedding_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids, bool accumulate);
}  // namespace cuda

}  // namespace tandem
