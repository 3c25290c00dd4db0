// Matrix products on the CPU: C = op(A) op(B) + beta C, in f32, f64, and f32 multiplied in bf16.
//
// Every operator that multiplies matrices is built on gemm(); oneDNN does the arithmetic (ops/gemm/onednn.h).
// The product is cut into blocks of C whose sizes depend on the shape alone, and one thread computes each
// block. So the bits of a result depend neither on the number of threads nor on their timing.
#pragma once
#include <cstdint>

#include "tandem/core/dtype.h"
#include "tandem/ops/gemm/precision.h"

namespace tandem {

// Describes one product, or `batch` of them whose operands lie stride_* elements apart (a stride of 0 shares
// the operand). op(A) is (m, k), op(B) is (k, n), C is (m, n), all row-major; ld* is the number of elements
// from one stored row to the next. With transpose_a, A is stored as (k, m); with transpose_b, B is stored as
// (n, k).
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  int64_t lda = 0, ldb = 0, ldc = 0;
  bool accumulate = false;  // beta: true adds to what C holds, false overwrites it
  int64_t batch = 1;
  int64_t stride_a = 0, stride_b = 0, stride_c = 0;
  MatmulPrecision precision = MatmulPrecision::f32;
};

namespace cpu {

// Computes the product on all threads. `bias`, if not null, has n elements and is added to every row of C.
void gemm(float* c, const float* a, const float* b, const Gemm& product, const float* bias = nullptr);
void gemm(double* c, const double* a, const double* b, const Gemm& product, const double* bias = nullptr);
// The same with the result rounded to bf16, or with one operand stored in bf16. Error: the precision is not
// bf16; k is 0; C is in bf16 and is accumulated to or has gaps between rows; B is in bf16 and the product is
// not A^T B, the form of a weight's gradient.
void gemm(bf16* c, const float* a, const float* b, const Gemm& product);
void gemm(float* c, const bf16* a, const float* b, const Gemm& product);
void gemm(float* c, const float* a, const bf16* b, const Gemm& product);

// Computes one product (no batch, no bias, never in bf16) on the calling thread: for use in parallel regions.
void gemm_serial(float* c, const float* a, const float* b, const Gemm& product);
void gemm_serial(double* c, const double* a, const double* b, const Gemm& product);

}  // namespace cpu

}  // namespace tandem
