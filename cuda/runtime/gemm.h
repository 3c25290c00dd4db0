// Matrix products on the GPU through cuBLASLt: f32, tf32, bf16 and f64, strided batches, bias, accumulation.
#pragma once
#include <cublasLt.h>

#include "core/dtype.h"
#include "cuda/runtime/runtime.h"
#include "ops/gemm/gemm.h"

namespace tandem::cuda {

inline void check(cublasStatus_t status, const char* call, const char* file, int line) {
  if (status != CUBLAS_STATUS_SUCCESS) fail_call("cublas", cublasLtGetStatusString(status), call, file, line);
}
#define CUBLAS_CHECK(call) ::tandem::cuda::check((call), #call, __FILE__, __LINE__)

// Element types of a product's matrices; all sums are formed in f32, or f64 where they are f64.
struct GemmTypes {
  DType c, a, b;
};

// C = op(A) op(B) + beta C, as ops/gemm/gemm.h says, enqueued on the compute stream. A and B are both f32, f64 or
// bf16; C is of the same type, or f32 where they are bf16. `bias`, if not null, has n elements of C's type
// and is added to every row. The algorithm that cuBLASLt proposes for a shape is asked for once and kept.
// Error: cuBLASLt refuses; the message has the shape.
void gemm(void* c, const void* a, const void* b, const Gemm& product, GemmTypes types,
          const void* bias = nullptr);

}  // namespace tandem::cuda
