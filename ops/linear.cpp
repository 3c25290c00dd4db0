// linear: three products, and column sums for the gradient of the bias.
#include "tandem/ops/linear.h"

#include <algorithm>

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/support/data_or_null.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// The number of rows of x, all axes but the last taken together.
int64_t rows_of(const Tensor& x) {
  return x.size(-1) == 0 ? 0 : x.numel() / x.size(-1);
}

// sums (width) += the rows of x, which lie `stride` elements apart.
template <class T>
TANDEM_INLINE void add_columns_body(T* sums, const T* x, int64_t rows, int64_t stride, int64_t width) {
  for (int64_t row = 0; row < rows; ++row, x += stride) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) sums[j] += x[j];
  }
}
TANDEM_SIMD void add_columns(float* sums, const float* x, int64_t rows, int64_t stride, int64_t width) {
  add_columns_body(sums, x, rows, stride, width);
}
TANDEM_SIMD void add_columns(double* sums, const double* x, int64_t rows, int64_t stride, int64_t width) {
  add_columns_body(sums, x, rows, stride, width);
}

constexpr int64_t kColumns = 64, kRows = 128;  // columns of a task, rows of a chunk

// sums = the sum of the rows of x (rows, width), or sums +=. A task sums some columns in chunks of rows, so
// that the rounding error grows with the number of chunks and not with the number of rows.
template <class T>
void column_sums(T* sums, const T* x, int64_t rows, int64_t width, bool accumulate) {
  cpu::for_blocks(width, kColumns, rows, [sums, x, rows, width, accumulate](int64_t begin, int64_t end) {
    const int64_t columns = end - begin;
    T part[kColumns];
    if (!accumulate) std::fill(sums + begin, sums + end, T(0));
    for (int64_t row = 0; row < rows; row += kRows) {
      std::fill_n(part, columns, T(0));
      add_columns(part, x + row * width + begin, std::min<int64_t>(kRows, rows - row), width, columns);
      add_columns(sums + begin, part, 1, 0, columns);
    }
  });
}

}  // namespace

Gemm linear_product(int64_t rows, const Tensor& weight, MatmulPrecision precision) {
  const int64_t in = weight.size(1), out = weight.size(0);
  return {.m = rows,
          .n = out,
          .k = in,
          .transpose_b = true,
          .lda = in,
          .ldb = in,
          .ldc = out,
          .precision = precision};
}

Gemm linear_input_product(int64_t rows, const Tensor& weight, MatmulPrecision precision) {
  const int64_t in = weight.size(1), out = weight.size(0);
  return {.m = rows, .n = in, .k = out, .lda = out, .ldb = in, .ldc = in, .precision = precision};
}

Gemm linear_weight_product(int64_t rows, const Tensor& weight, bool accumulate, MatmulPrecision precision) {
  const int64_t in = weight.size(1), out = weight.size(0);
  return {.m = out,
          .n = in,
          .k = rows,
          .transpose_a = true,
          .lda = out,
          .ldb = in,
          .ldc = in,
          .accumulate = accumulate,
          .precision = precision};
}

namespace cpu {

LinearPlan plan_linear(const Tensor& y, const Tensor& x, const Tensor& weight, MatmulPrecision precision) {
  if (x.dtype() == DType::bf16 && y.dtype() == DType::f32) return {LinearPath::bf16_input};
  if (const Int8Weight* const form = int8_form(weight)) return {LinearPath::int8, form};
  if (std::shared_ptr<const Bf16Weight> form = bf16_form(weight, rows_of(y), precision))
    return {LinearPath::kept_bf16, nullptr, std::move(form)};
  if (y.dtype() == DType::bf16) return {LinearPath::bf16_output};
  return {LinearPath::general};
}

void linear_forward(const Tensor& y, const Tensor& x, const Tensor& weight, const Tensor& bias,
                    MatmulPrecision precision) {
  const Gemm p = linear_product(rows_of(y), weight, precision);
  const LinearPlan plan = plan_linear(y, x, weight, precision);
  switch (plan.path) {
    case LinearPath::bf16_input:
      return gemm(y.data<float>(), x.data<bf16>(), weight.data<float>(), p);
    case LinearPath::int8:
      return gemm_int8(y.data<float>(), x.data<float>(), p, *plan.int8, data_or_null<float>(bias));
    case LinearPath::kept_bf16:
      if (y.dtype() == DType::bf16) return gemm_bf16_weight(y.data<bf16>(), x.data<float>(), p, *plan.kept);
      return gemm_bf16_weight(y.data<float>(), x.data<float>(), p, *plan.kept, data_or_null<float>(bias));
    case LinearPath::bf16_output:
      return gemm(y.data<bf16>(), x.data<float>(), weight.data<float>(), p);
    case LinearPath::general:
      return dispatch_float(y.dtype(), "linear", [&]<class T>() {
        gemm(y.data<T>(), x.data<T>(), weight.data<T>(), p, data_or_null<T>(bias));
      });
  }
}

void linear_backward_input(const Tensor& dx, const Tensor& dy, const Tensor& weight,
                           MatmulPrecision precision) {
  const Gemm p = linear_input_product(rows_of(dx), weight, precision);
  if (dy.dtype() == DType::bf16) return gemm(dx.data<float>(), dy.data<bf16>(), weight.data<float>(), p);
  dispatch_float(dx.dtype(), "linear",
                 [&]<class T>() { gemm(dx.data<T>(), dy.data<T>(), weight.data<T>(), p); });
}

void linear_backward_weight(const Tensor& dweight, const Tensor& dy, const Tensor& x, bool accumulate,
                            MatmulPrecision precision) {
  const Gemm p = linear_weight_product(rows_of(dy), dweight, accumulate, precision);
  if (dy.dtype() == DType::bf16) return gemm(dweight.data<float>(), dy.data<bf16>(), x.data<float>(), p);
  if (x.dtype() == DType::bf16) return gemm(dweight.data<float>(), dy.data<float>(), x.data<bf16>(), p);
  dispatch_float(dweight.dtype(), "linear",
                 [&]<class T>() { gemm(dweight.data<T>(), dy.data<T>(), x.data<T>(), p); });
}

void linear_backward_bias(const Tensor& dbias, const Tensor& dy, bool accumulate) {
  dispatch_float(dy.dtype(), "linear", [&]<class T>() {
    column_sums(dbias.data<T>(), dy.data<T>(), rows_of(dy), dbias.size(0), accumulate);
  });
}

}  // namespace cpu

namespace {

void check_arguments(const char* op, const char* x_name, const Tensor& x, const Tensor& weight,
                     const Tensor& bias) {
  check_defined(op, {{x_name, x}, {"weight", weight}});
  TANDEM_CHECK(weight.rank() == 2, "{}: weight is {}; it must be (out, in)", op, weight.summary());
  TANDEM_CHECK(x.rank() >= 1 && x.size(-1) == weight.size(1),
               "{}: {} is {}, weight is {}; the last sizes must be equal", op, x_name, x.shape().str(),
               weight.shape().str());
  const auto fits = [&x](const Tensor& w) {
    return w.dtype() == x.dtype() || w.dtype() == parameter_dtype(x.dtype());
  };
  TANDEM_CHECK(is_floating(x.dtype()) && fits(weight) && x.device() == weight.device(),
               "{}: {} is {}, weight is {}; they must have one floating dtype and one device", op, x_name,
               x.summary(), weight.summary());
  if (!bias.defined()) return;
  TANDEM_CHECK(bias.rank() == 1 && bias.size(0) == weight.size(0),
               "{}: bias is {}, weight is {}; bias must be ({})", op, bias.shape().str(),
               weight.shape().str(), weight.size(0));
  TANDEM_CHECK(fits(bias) && bias.device() == x.device(),
               "{}: {} is {}, bias is {}; they must have one dtype and one device", op, x_name, x.summary(),
               bias.summary());
}

// Returns dx = dy W, in the shape and dtype of x.
Tensor input_gradient(const Tensor& dy, const Tensor& weight, const Shape& shape, DType dtype,
                      MatmulPrecision precision) {
  const Tensor dx(shape, dtype, dy.device());
  TANDEM_DISPATCH(dy.device(), linear_backward_input(dx, dy, weight, precision));
  return dx;
}

// True if the product of x and weight accepts and gives bf16 with f32: on a CPU in precision bf16, which
// rounds the operands anyway.
bool accepts_bf16(const Tensor& x, const Tensor& weight) {
  return x.device().is_cpu() && x.dtype() == DType::f32 && x.rank() > 0 && x.size(-1) > 0 &&
         matmul_precision() == MatmulPrecision::bf16 && !int8_form(weight);
}

void add_weight_gradient(const GradTarget& target, const Tensor& dy, const Tensor& x,
                         MatmulPrecision precision) {
  TANDEM_DISPATCH(dy.device(), linear_backward_weight(target.grad, dy, x, target.accumulate, precision));
}

// linear() with y in `dtype`. The gradients:  dx = dy W,  dW = dy^T x,  db = the sum of the rows of dy.
Tensor linear_to(const char* op, DType dtype, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_arguments(op, "x", x, weight, bias);
  const MatmulPrecision precision = matmul_precision();
  Tensor y(x.shape().with(-1, weight.size(0)), dtype, x.device());
  TANDEM_DISPATCH(x.device(), linear_forward(y, x, weight, bias, precision));
  std::vector<Tensor> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  // Only dW needs x: it is not saved for a weight that is not trained.
  const bool wants_x = needs_grad(x), wants_weight = needs_grad(weight),
             wants_bias = bias.defined() && needs_grad(bias);
  const Shape shape = x.shape();
  const DType input = x.dtype();
  const Tensor saved = wants_weight ? x : Tensor();
  return record("linear", y, std::move(inputs),
                [saved, shape, input, weight, bias, precision, wants_x, wants_weight,
                 wants_bias](const Tensor& dy) -> Grads {
                  Grads grads(bias.defined() ? 3 : 2);
                  if (wants_x) grads[0] = input_gradient(dy, weight, shape, input, precision);
                  if (wants_weight) {
                    const GradTarget target = grad_target(weight);
                    add_weight_gradient(target, dy, saved, precision);
                    grads[1] = target.grad;
                  }
                  if (wants_bias) {
                    const GradTarget target = grad_target(bias);
                    TANDEM_DISPATCH(dy.device(), linear_backward_bias(target.grad, dy, target.accumulate));
                    grads[2] = target.grad;
                  }
                  return grads;
                });
}

}  // namespace

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_floating("linear", {{"x", x}});
  return linear_to("linear", x.dtype(), x, weight, bias);
}

Tensor linear_bf16_out(const Tensor& x, const Tensor& weight) {
  check_floating("linear_bf16_out", {{"x", x}});
  check_defined("linear_bf16_out", {{"weight", weight}});
  return linear_to("linear_bf16_out", accepts_bf16(x, weight) ? DType::bf16 : x.dtype(), x, weight, {});
}

LinearRows linear_rows(const Tensor& earlier, const Tensor& x, const Tensor& weight) {
  constexpr const char* kName = "linear_rows";
  check_floating(kName, {{"x", x}});
  check_arguments(kName, "x", x, weight, {});
  if (!earlier.defined()) {
    const Tensor y = linear(x, weight);
    return {y, y};
  }
  TANDEM_CHECK(earlier.dtype() == x.dtype() || (is_floating(earlier.dtype()) && !needs_grad(earlier)),
               "{}: before is {}, x is {}; of another dtype before must be floating and need no gradient",
               kName, earlier.summary(), x.summary());
  const bool used_as_it_is =
      earlier.dtype() == x.dtype() || (earlier.dtype() == DType::bf16 && accepts_bf16(x, weight));
  const Tensor before = used_as_it_is ? earlier : earlier.to(x.dtype());
  check_arguments(kName, "before", before, weight, {});
  TANDEM_CHECK(before.rank() >= 2 && before.shape().tail() == x.shape().tail(),
               "{}: before is {}, x is {}; all but the leading sizes must agree", kName, before.summary(),
               x.summary());
  const MatmulPrecision precision = matmul_precision();
  const int64_t rows = before.size(0), end = rows + x.size(0);
  const Tensor all(x.shape().with(0, end).with(-1, weight.size(0)), x.dtype(), x.device());
  const Tensor y = all.view_rows(rows, end);
  TANDEM_DISPATCH(x.device(), linear_forward(all.view_rows(0, rows), before, weight, {}, precision));
  TANDEM_DISPATCH(x.device(), linear_forward(y, x, weight, {}, precision));
  const bool wants_weight = needs_grad(weight);
  const std::vector<Tensor> saved = wants_weight ? std::vector<Tensor>{before, x} : std::vector<Tensor>();
  const std::vector<Shape> shapes{before.shape(), x.shape()};
  const std::vector<bool> wanted{needs_grad(before), needs_grad(x)};
  const std::vector<Tensor> ys = record(
      "linear", {all, y}, {before, x, weight},
      [saved, shapes, wanted, weight, precision, rows, end, dtype = x.dtype(),
       wants_weight](const Grads& dys) {
        Tensor dy[2];  // gradients of the rows of `before` and of y; the latter adds those of y and of `all`
        if (dys[0].defined()) dy[0] = dys[0].view_rows(0, rows), dy[1] = dys[0].view_rows(rows, end);
        if (dys[1].defined() && dy[1].defined()) {
          const Tensor sum = dys[1].sole_owner() ? dys[1] : dys[1].clone();
          add_in_place(sum, dy[1]);
          dy[1] = sum;
        } else if (dys[1].defined()) {
          dy[1] = dys[1];
        }
        Grads grads(3);
        for (size_t i = 0; i < 2; ++i) {
          if (wanted[i])
            grads[i] = dy[i].defined() ? input_gradient(dy[i], weight, shapes[i], dtype, precision)
                                       : zeros(shapes[i], dtype, weight.device());
          if (!wants_weight || !dy[i].defined()) continue;
          // The second of the two adds to the first.
          const GradTarget target = grads[2].defined() ? GradTarget{grads[2], true} : grad_target(weight);
          add_weight_gradient(target, dy[i], saved[i], precision);
          grads[2] = target.grad;
        }
        return grads;
      });
  return {ys[0], ys[1]};
}

}  // namespace tandem
