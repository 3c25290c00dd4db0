// Packing: f32 matrices are rounded to bf16 in the order in which the CPU's matrix units read them. Internal
// to the CPU kernels.
//
// A matrix unit multiplies rows of the left operand with pairs of rows of the right operand. The left operand
// is packed row by row. The right operand is packed in panels of 64 columns; a panel holds one row pair after
// the other, each pair interleaved: (0,0) (1,0) (0,1) (1,1) ... This is oneDNN's layout BA16a64b2a. Rows and
// columns are padded with zeros.
#pragma once
#include <cstdint>

#include "tandem/core/dtype.h"
#include "tandem/core/math.h"

namespace tandem::cpu {

inline constexpr int64_t kPackedDepth = 32;  // k is padded to a multiple of this, in both operands
inline constexpr int64_t kPackedWidth = 64;  // columns of a panel; n is padded to a multiple of this

constexpr int64_t packed_depth(int64_t k) {
  return round_up(k, kPackedDepth);
}
constexpr int64_t packed_width(int64_t n) {
  return round_up(n, kPackedWidth);
}

// Packs a (m, k), or a stored as (k, m) if transposed, into out (m, packed_depth(k)); lda as in
// Gemm. T is float or bf16.
template <class T>
void pack_left(bf16* out, const T* a, int64_t lda, bool transposed, int64_t m, int64_t k);

// Packs b (k, n), or b stored as (n, k) if transposed, into panels: packed_depth(k) * packed_width(n)
// elements, of which columns 64 i to 64 j - 1 are a contiguous range. T is float or bf16.
template <class T>
void pack_right(bf16* out, const T* b, int64_t ldb, bool transposed, int64_t k, int64_t n);

// y = x^T, or y += x^T with accumulate; x is (rows, columns), y is (columns, rows).
void transpose_into(float* y, int64_t ldy, bool accumulate, const float* x, int64_t ldx, int64_t rows,
                    int64_t columns);

}  // namespace tandem::cpu
