// Matrix products on the GPU through cuBLASLt: f32, tf32, bf16 and f64, strided batches, bias, accumulation.
#pragma once
#include "tandem/core/dtype.h"
#include "tandem/ops/gemm/gemm.h"

namespace tandem::cuda {

// Element types of a product's matrices; all sums are formed in f32, or f64 where they are f64.
struct GemmTypes {
  DType c, a, b;
};

// Enqueues C = op(A) op(B) + beta C (see ops/gemm/gemm.h) on the compute stream. A and B are both f32, f64 or
// bf16; C is of the same type, or f32 where they are bf16. `bias`, if not null, has n elements of C's type
// and is added to every row. cuBLASLt is asked once for the algorithm of a shape, which is then kept. Error:
// cuBLASLt refuses; the message has the shape.
void gemm(void* c, const void* a, const void* b, const Gemm& product, GemmTypes types,
          const void* bias = nullptr);

}  // namespace tandem::cuda
