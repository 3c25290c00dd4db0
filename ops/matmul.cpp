// matmul, whose gradients are two more products.
#include "tandem/ops/matmul.h"

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"

namespace tandem {

Gemm product_of(const Tensor& c, const Tensor& a, const Tensor& b, MatmulKernel kernel) {
  Gemm p;
  p.m = c.size(-2);
  p.n = c.size(-1);
  p.k = a.size(kernel.transpose_a ? -2 : -1);
  p.transpose_a = kernel.transpose_a;
  p.transpose_b = kernel.transpose_b;
  p.lda = a.size(-1);
  p.ldb = b.size(-1);
  p.ldc = p.n;
  p.accumulate = kernel.accumulate;
  p.batch = c.rank() == 3 ? c.size(0) : 1;
  p.stride_a = a.size(-1) * a.size(-2);
  p.stride_b = b.size(-1) * b.size(-2);
  p.stride_c = p.m * p.n;
  p.precision = kernel.precision;
  return p;
}

namespace cpu {

void matmul(const Tensor& c, const Tensor& a, const Tensor& b, MatmulKernel kernel) {
  const Gemm p = product_of(c, a, b, kernel);
  dispatch_float(c.dtype(), "matmul", [&]<class T>() { gemm(c.data<T>(), a.data<T>(), b.data<T>(), p); });
}

}  // namespace cpu

namespace {

Tensor product(const Tensor& a, const Tensor& b, MatmulKernel kernel) {
  const int64_t m = a.size(kernel.transpose_a ? -1 : -2), n = b.size(kernel.transpose_b ? -2 : -1);
  Tensor c(a.rank() == 3 ? Shape{a.size(0), m, n} : Shape{m, n}, a.dtype(), a.device());
  TANDEM_DISPATCH(c.device(), matmul(c, a, b, kernel));
  return c;
}

// Returns the gradient of w, the product of left and right. It is added in place if w is a leaf that has a
// gradient already.
Tensor product_into(const Tensor& w, const Tensor& left, const Tensor& right, MatmulKernel kernel) {
  const GradTarget target = grad_target(w);
  kernel.accumulate = target.accumulate;
  TANDEM_DISPATCH(w.device(), matmul(target.grad, left, right, kernel));
  return target.grad;
}

}  // namespace

// C = A B:            dA = dC B^T    dB = A^T dC
// A stored as A^T:    its gradient is the transpose, B dC^T; the same for B, dC^T A
Tensor matmul(const Tensor& a, const Tensor& b, MatmulOptions options) {
  check_floating("matmul", {{"a", a}, {"b", b}});
  TANDEM_CHECK(
      a.rank() == b.rank() && (a.rank() == 2 || a.rank() == 3),
      "matmul: a is {}, b is {}; both must be matrices, or both batches of matrices (G, rows, columns)",
      a.summary(), b.summary());
  TANDEM_CHECK(a.dtype() == b.dtype() && a.device() == b.device(),
               "matmul: a is {}, b is {}; they must have one floating dtype and one device", a.summary(),
               b.summary());
  TANDEM_CHECK(a.rank() == 2 || a.size(0) == b.size(0),
               "matmul: batch sizes differ: a is {}, b is {}; their first must be equal", a.shape().str(),
               b.shape().str());
  const bool ta = options.transpose_a, tb = options.transpose_b;
  TANDEM_CHECK(a.size(ta ? -2 : -1) == b.size(tb ? -1 : -2),
               "matmul: inner sizes differ: a is {}{}, b is {}{}; a's {} must equal b's {}", a.shape().str(),
               ta ? " transposed" : "", b.shape().str(), tb ? " transposed" : "",
               ta ? (a.rank() == 2 ? "first" : "second") : "last",
               tb ? "last" : (b.rank() == 2 ? "first" : "second"));
  const MatmulPrecision precision = matmul_precision();
  const Tensor c = product(a, b, {ta, tb, false, precision});
  const bool wants_a = needs_grad(a), wants_b = needs_grad(b);
  return record("matmul", c, {a, b}, [a, b, ta, tb, precision, wants_a, wants_b](const Tensor& dc) -> Grads {
    Tensor da, db;
    if (wants_a)
      da = ta ? product_into(a, b, dc, {tb, true, false, precision})
              : product_into(a, dc, b, {false, !tb, false, precision});
    if (wants_b)
      db = tb ? product_into(b, dc, a, {true, ta, false, precision})
              : product_into(b, a, dc, {!ta, false, false, precision});
    return {da, db};
  });
}

}  // namespace tandem
