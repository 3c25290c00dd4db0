// How a product is cut into tasks: decisions shared by the f32, f64 and bf16 paths. Internal to ops/gemm.
#pragma once
#include <utility>

#include "tandem/ops/gemm/gemm.h"

namespace tandem::cpu {

inline constexpr int64_t kSliceDepth = 512;  // length of a slice of k: a slice of the operands stays in cache
inline constexpr int64_t kMinTasks = 8;      // tasks are made smaller, to a limit, until there are so many

// Returns the block size along n: starts at `most` and is halved, not below `least`, until
// times * ceil(n / size) >= kMinTasks.
inline int64_t task_size(int64_t n, int64_t most, int64_t least, int64_t times) {
  while (most > least && times * ((n + most - 1) / most) < kMinTasks) most /= 2;
  return most;
}

// True from a million floating-point operations on; smaller products run on one thread.
inline bool worth_threads(const Gemm& p) {
  return 2 * p.m * p.n * p.k * p.batch > (1 << 20);
}

// Return the offset in elements of row i of op(A), and of column j of op(B).
inline int64_t row_offset(const Gemm& p, int64_t i) {
  return p.transpose_a ? i : i * p.lda;
}
inline int64_t column_offset(const Gemm& p, int64_t j) {
  return p.transpose_b ? j * p.ldb : j;
}

// True for A^T B, the form of a weight's gradient.
inline bool is_weight_gradient(const Gemm& p) {
  return p.transpose_a && !p.transpose_b;
}
// True for A^T B with m > n, the gradient of a wide weight, which is faster as the transpose of B^T A: the
// matrix that is read across its rows is then the smaller one.
inline bool faster_via_transpose(const Gemm& p, const float* bias) {
  return is_weight_gradient(p) && p.m > p.n && !bias;
}
// Returns the product B^T A. Its ldc stays that of C, into which the result must be transposed.
inline Gemm transposed_product(Gemm p) {
  std::swap(p.m, p.n);
  std::swap(p.lda, p.ldb);
  std::swap(p.stride_a, p.stride_b);
  return p;
}

// y += x
void add_to_row(float* y, const float* x, int64_t n);
void add_to_row(double* y, const double* x, int64_t n);
// Writes a complete row of C: y = x + bias, or y += x + bias. Overwrites x, which is scratch; bias may be
// null.
void write_row(float* y, float* x, int64_t n, const float* bias, bool accumulate);

}  // namespace tandem::cpu
