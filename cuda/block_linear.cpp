// block_linear: cuBLASLt multiplies all blocks at once, as a batch with strides.
#include "tandem/ops/block_linear.h"

#include "tandem/cuda/runtime/gemm.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem::cuda {
namespace {

int64_t rows_of(const Tensor& x) {
  return x.numel() / x.size(-1);
}

}  // namespace

void block_linear_forward(const Tensor& y, const Tensor& x, const Tensor& weight, MatmulPrecision precision) {
  const Tensor w = weight_as(weight, x.dtype());
  gemm(y.raw(), x.raw(), w.raw(), block_linear_product(rows_of(x), weight, precision),
       {y.dtype(), x.dtype(), w.dtype()});
}

void block_linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                                 MatmulPrecision precision) {
  const Tensor w = weight_as(weight, dy.dtype());
  gemm(dx.raw(), dy.raw(), w.raw(), block_linear_input_product(rows_of(dx), weight, precision),
       {dx.dtype(), dy.dtype(), w.dtype()});
}

void block_linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                                  MatmulPrecision precision) {
  gemm(dweight.raw(), dy.raw(), x.raw(),
       block_linear_weight_product(rows_of(x), dweight, accumulate, precision),
       {dweight.dtype(), dy.dtype(), x.dtype()});
}

}  // namespace tandem::cuda
