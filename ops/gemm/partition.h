// How a product is cut into tasks: decisions shared by the f32, f64 and bf16 paths. Internal to gemm*.cpp.
#pragma once
#include <utility>

#include "ops/gemm/gemm.h"

namespace tandem::cpu {

inline constexpr int64_t kSliceDepth = 512;  // of k, where it is cut: a slice of the operands stays in cache
inline constexpr int64_t kMinTasks = 8;      // tasks are made smaller, to a limit, until there are so many

// How much of n a task takes: `most`, halved down to `least` until there are kMinTasks of them, `times` over.
inline int64_t task_size(int64_t n, int64_t most, int64_t least, int64_t times) {
  while (most > least && times * ((n + most - 1) / most) < kMinTasks) most /= 2;
  return most;
}

// Below a million operations the other threads are not worth waking.
inline bool worth_threads(const Gemm& p) {
  return 2 * p.m * p.n * p.k * p.batch > (1 << 20);
}

// Elements from op(A) to its row i, and from op(B) to its column j.
inline int64_t row_offset(const Gemm& p, int64_t i) {
  return p.transpose_a ? i : i * p.lda;
}
inline int64_t column_offset(const Gemm& p, int64_t j) {
  return p.transpose_b ? j * p.ldb : j;
}

// A^T B, as the gradient of a weight is.
inline bool is_weight_gradient(const Gemm& p) {
  return p.transpose_a && !p.transpose_b;
}
// A^T B with m > n, the gradient of a wide weight, runs faster as the transpose of B^T A: walking a matrix
// against its rows costs most, so it had better be the smaller one.
inline bool better_flipped(const Gemm& p, const float* bias) {
  return is_weight_gradient(p) && p.m > p.n && !bias;
}
// The product B^T A; ldc stays that of C, which is then the transpose of the result.
inline Gemm flip(Gemm p) {
  std::swap(p.m, p.n);
  std::swap(p.lda, p.ldb);
  std::swap(p.stride_a, p.stride_b);
  return p;
}

void add_to_row(float* y, const float* x, int64_t n);
void add_to_row(double* y, const double* x, int64_t n);
// Columns of a row of C that are complete, x, to their place: y = x + bias, or y += it. x is scratch.
void write_row(float* y, float* x, int64_t n, const float* bias, bool accumulate);

// gemm() with operands rounded to bf16; k > 0. In bf16, C cannot be accumulated to, and B is of A^T B only.
void gemm_bf16(float* c, const float* a, const float* b, const Gemm& p, const float* bias);
void gemm_bf16(bf16* c, const float* a, const float* b, const Gemm& p);
void gemm_bf16(float* c, const bf16* a, const float* b, const Gemm& p);
void gemm_bf16(float* c, const float* a, const bf16* b, const Gemm& p);

}  // namespace tandem::cpu
