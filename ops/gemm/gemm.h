// Matrix products on the CPU: C = op(A) op(B) + beta C, f32, f64, and f32 multiplied in bf16.
//
// What every operator that multiplies matrices stands on; oneDNN does the arithmetic (ops/gemm/onednn.h). The
// product is cut into blocks of C whose sizes depend on the shape alone, and each block is computed by one
// thread. So the bits of a result depend neither on the number of threads nor on their timing.
#pragma once
#include <cstdint>

#include "core/dtype.h"
#include "ops/gemm/precision.h"

namespace tandem {

// One product, or `batch` of them whose operands lie `stride_*` elements apart (a stride of 0 shares an
// operand). op(A) is (m, k), op(B) is (k, n), C is (m, n), all row-major; ld* is the number of elements from
// one stored row to the next. With transpose_a, A is stored as (k, m); with transpose_b, B is stored as (n,
// k).
struct Gemm {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  int64_t lda = 0, ldb = 0, ldc = 0;
  bool accumulate = false;  // beta: 1 adds to what C holds, 0 overwrites it
  int64_t batch = 1;
  int64_t stride_a = 0, stride_b = 0, stride_c = 0;
  MatmulPrecision precision = MatmulPrecision::f32;
};

namespace cpu {

// Runs the product on all threads. `bias`, if not null, has n elements and is added to every row of C, while
// the row is still in cache.
void gemm(float* c, const float* a, const float* b, const Gemm& product, const float* bias = nullptr);
void gemm(double* c, const double* a, const double* b, const Gemm& product, const double* bias = nullptr);
// Of precision bf16, with a result that is rounded to bf16, or one operand that is in bf16 already; k > 0.
// Error: another precision, k is 0, a result in bf16 that is to be accumulated or has gaps between rows, or a
// right operand in bf16 in another product than A^T B, the gradient of a weight.
void gemm(bf16* c, const float* a, const float* b, const Gemm& product);
void gemm(float* c, const bf16* a, const float* b, const Gemm& product);
void gemm(float* c, const float* a, const bf16* b, const Gemm& product);

// The same on the calling thread alone, one product (no batch, no bias, never bf16): for use in parallel
// regions.
void gemm_serial(float* c, const float* a, const float* b, const Gemm& product);
void gemm_serial(double* c, const double* a, const double* b, const Gemm& product);

}  // namespace cpu

}  // namespace tandem
