// block_linear: one product for each block, whose operands lie side by side in the rows of x and y.
#include "tandem/ops/block_linear.h"

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

int64_t rows_of(const Tensor& x) {
  return x.numel() / x.size(-1);
}

}  // namespace

Gemm block_linear_product(int64_t rows, const Tensor& weight, MatmulPrecision precision) {
  const int64_t blocks = weight.size(0), out = weight.size(1), in = weight.size(2);
  return {.m = rows,
          .n = out,
          .k = in,
          .transpose_b = true,
          .lda = blocks * in,
          .ldb = in,
          .ldc = blocks * out,
          .batch = blocks,
          .stride_a = in,
          .stride_b = out * in,
          .stride_c = out,
          .precision = precision};
}

Gemm block_linear_input_product(int64_t rows, const Tensor& weight, MatmulPrecision precision) {
  const int64_t blocks = weight.size(0), out = weight.size(1), in = weight.size(2);
  return {.m = rows,
          .n = in,
          .k = out,
          .lda = blocks * out,
          .ldb = in,
          .ldc = blocks * in,
          .batch = blocks,
          .stride_a = out,
          .stride_b = out * in,
          .stride_c = in,
          .precision = precision};
}

Gemm block_linear_weight_product(int64_t rows, const Tensor& weight, bool accumulate,
                                 MatmulPrecision precision) {
  const int64_t blocks = weight.size(0), out = weight.size(1), in = weight.size(2);
  return {.m = out,
          .n = in,
          .k = rows,
          .transpose_a = true,
          .lda = blocks * out,
          .ldb = blocks * in,
          .ldc = in,
          .accumulate = accumulate,
          .batch = blocks,
          .stride_a = out,
          .stride_b = in,
          .stride_c = out * in,
          .precision = precision};
}

namespace cpu {

void block_linear_forward(const Tensor& y, const Tensor& x, const Tensor& weight, MatmulPrecision precision) {
  const Gemm p = block_linear_product(rows_of(x), weight, precision);
  dispatch_float(y.dtype(), "block_linear",
                 [&]<class T>() { gemm(y.data<T>(), x.data<T>(), weight.data<T>(), p); });
}

void block_linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                                 MatmulPrecision precision) {
  const Gemm p = block_linear_input_product(rows_of(dx), weight, precision);
  dispatch_float(dx.dtype(), "block_linear",
                 [&]<class T>() { gemm(dx.data<T>(), dy.data<T>(), weight.data<T>(), p); });
}

void block_linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                                  MatmulPrecision precision) {
  const Gemm p = block_linear_weight_product(rows_of(x), dweight, accumulate, precision);
  dispatch_float(dweight.dtype(), "block_linear",
                 [&]<class T>() { gemm(dweight.data<T>(), dy.data<T>(), x.data<T>(), p); });
}

}  // namespace cpu

// Block by block as in linear():  dx = dy W,  dW = dy^T x.
Tensor block_linear(const Tensor& x, const Tensor& weight) {
  check_floating("block_linear", {{"x", x}, {"weight", weight}});
  TANDEM_CHECK(weight.rank() == 3 && weight.numel() > 0,
               "block_linear: weight is {}; it must be (G, out, in)", weight.summary());
  const int64_t blocks = weight.size(0), out = weight.size(1), in = weight.size(2);
  TANDEM_CHECK(x.rank() >= 1 && x.size(-1) == blocks * in,
               "block_linear: x is {}, weight is {}; x's last must be {}, that is {} blocks of {}",
               x.shape().str(), weight.shape().str(), blocks * in, blocks, in);
  TANDEM_CHECK(x.device() == weight.device() &&
                   (weight.dtype() == x.dtype() || weight.dtype() == parameter_dtype(x.dtype())),
               "block_linear: x is {}, weight is {}; they must have one floating dtype and one device",
               x.summary(), weight.summary());
  const MatmulPrecision precision = matmul_precision();
  const Tensor y(x.shape().with(-1, blocks * out), x.dtype(), x.device());
  TANDEM_DISPATCH(x.device(), block_linear_forward(y, x, weight, precision));
  // Only dW needs x: it is not saved for a weight that is not trained.
  const bool wants_x = needs_grad(x), wants_weight = needs_grad(weight);
  const Shape shape = x.shape();
  const DType dtype = x.dtype();
  const Tensor saved = wants_weight ? x : Tensor();
  return record(
      "block_linear", y, {x, weight},
      [saved, shape, dtype, weight, precision, wants_x, wants_weight](const Tensor& dy) -> Grads {
        Grads grads(2);
        if (wants_x) {
          grads[0] = Tensor(shape, dtype, dy.device());
          TANDEM_DISPATCH(dy.device(), block_linear_backward_input(grads[0], dy, weight, precision));
        }
        if (wants_weight) {
          const GradTarget target = grad_target(weight);
          TANDEM_DISPATCH(dy.device(),
                          block_linear_backward_weight(target.grad, dy, saved, target.accumulate, precision));
          grads[1] = target.grad;
        }
        return grads;
      });
}

}  // namespace tandem
