// embedding: one row of a table for every id, (...) i32 and (V, D) to (..., D).
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Computes y[...] = table[ids[...]] in the table's dtype, or in `dtype`, which on a GPU may be bf16 for an f32
// table. Rows of the table's gradient are summed in the order of the ids, so the bits are the same every time.
// Error: ids are not i32; an id is outside 0 .. V - 1 (the message names value and position; on a GPU, which is
// not waited for, the row is NaN instead and gets no gradient); table is not a floating (V, D); its rows cannot
// be `dtype`.
Tensor embedding(const Tensor& ids, const Tensor& table);
Tensor embedding(const Tensor& ids, const Tensor& table, DType dtype);

namespace cpu {
// On a GPU, y may be bf16 with an f32 or a bf16 table.
void embedding_forward(const Tensor& y, const Tensor& ids, const Tensor& table);
// dtable[ids[i]] += dy[i] for every id inside the table. Unless `accumulate`, dtable is set to 0 first. On a
// GPU dy may be bf16 with an f32 dtable, and there may be at most 2^31 - 1 ids.
void embedding_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids, bool accumulate);
}  // namespace cpu

namespace cuda {
void embedding_forward(const Tensor& y, const Tensor& ids, const Tensor& table);
void embedding_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids, bool accumulate);
}  // namespace cuda

}  // namespace tandem
