// Rounding f32 matrices to bf16 in the order in which the CPU's matrix units read them. Internal to the CPU
// kernels.
//
// A matrix unit multiplies rows of the left operand with pairs of rows of the right one. So the left operand
// is packed row by row; the right one in panels of 64 columns, and in a panel, row pair after row pair, each
// pair interleaved: (0,0) (1,0) (0,1) (1,1) ... This is oneDNN's layout BA16a64b2a. Rows and columns are
// padded with zeros.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "core/math.h"

namespace tandem::cpu {

inline constexpr int64_t kPackedDepth = 32;  // k is padded to a multiple of this, in both operands
inline constexpr int64_t kPackedWidth = 64;  // columns of a panel; n is padded to a multiple

constexpr int64_t packed_depth(int64_t k) {
  return round_up(k, kPackedDepth);
}
constexpr int64_t packed_width(int64_t n) {
  return round_up(n, kPackedWidth);
}

// out (m, packed_depth(k)) from a (m, k), or from a stored as (k, m) when transposed; lda as in Gemm. T:
// float or bf16.
template <class T>
void pack_left(bf16* out, const T* a, int64_t lda, bool transposed, int64_t m, int64_t k);

// All panels of b (k, n), or of b stored as (n, k) when transposed: packed_depth(k) * packed_width(n)
// elements. Columns [64 i, 64 j) are a contiguous range. T: float or bf16.
template <class T>
void pack_right(bf16* out, const T* b, int64_t ldb, bool transposed, int64_t k, int64_t n);

// y (columns, rows) = x (rows, columns) transposed, or y += it: for a product that was computed as its
// transpose.
void transpose_into(float* y, int64_t ldy, bool accumulate, const float* x, int64_t ldx, int64_t rows,
                    int64_t columns);

}  // namespace tandem::cpu
