// embedding: one row of a table for every id.
#pragma once
#include "core/tensor.h"

namespace tandem {

// ids (...) i32, table (V, D) -> (..., D): y[...] = table[ids[...]], in the table's dtype; or in `dtype`,
// which on a GPU may be bf16 for an f32 table. The table's gradient adds up in place, in the order of the
// ids: the same bits every time. Error: ids not i32, or one outside 0..V-1 (value and position are named; a
// GPU is not waited for: there such an id gives a row of NaN and no gradient); table not f32 or f64 (V, D); a
// dtype that its rows cannot have.
Tensor embedding(const Tensor& ids, const Tensor& table);
Tensor embedding(const Tensor& ids, const Tensor& table, DType dtype);

namespace cpu {
// On a GPU a bf16 y may come from an f32 table or a bf16 one.
void embedding_forward(const Tensor& y, const Tensor& ids, const Tensor& table);
// dtable[ids[i]] += dy[i], but for ids outside the table; overwritten instead, unmentioned rows with 0,
// unless `accumulate`. On a GPU dy may be bf16 beside an f32 dtable, and at most 2^31 - 1 ids are taken.
void embedding_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids, bool accumulate);
}  // namespace cpu

namespace cuda {
void embedding_forward(const Tensor& y, const Tensor& ids, const Tensor& table);
void embedding_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids, bool accumulate);
}  // namespace cuda

}  // namespace tandem
