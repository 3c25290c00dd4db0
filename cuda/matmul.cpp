// matmul: cuBLASLt does all of it.
#include "tandem/ops/matmul.h"

#include "tandem/cuda/runtime/gemm.h"

namespace tandem::cuda {

void matmul(const Tensor& c, const Tensor& a, const Tensor& b, MatmulKernel kernel) {
  gemm(c.raw(), a.raw(), b.raw(), product_of(c, a, b, kernel), {c.dtype(), a.dtype(), b.dtype()});
}

}  // namespace tandem::cuda
