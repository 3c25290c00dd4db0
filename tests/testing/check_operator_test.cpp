// check_operator() passes a right operator, and each of its checks refuses the operator that is wrong in what it checks.
#include "tandem/testing/check_operator.h"

#include <doctest/doctest.h>
#include <omp.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/dispatch.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

// The defects of an operator; one whose fields are all zero is right.
struct Defects {
  double value = 0;           // added to each output
  double value_f32 = 0;       // the same in f32 alone
  double gradient = 0;        // relative error of the gradient of a
  double gradient_f32 = 0;    // the same in f32 alone
  double per_thread = 0;      // added to each output for each OpenMP thread
  double recorded = 0;        // added to each output under a tape
  bool writes_input = false;  // forward sets a[0]
  bool spoils_input = false;  // backward sets a[0]
  bool wrong_alone = false;   // the gradient of b is wrong if a wants none
  bool throws = false;
};

// y = a b, element by element, with defects.
Tensor product(const Tensor& a, const Tensor& b, const Defects& wrong) {
  if (wrong.throws) throw Error("product: no");
  Tensor y = empty_like(a);
  dispatch_float(a.dtype(), "product", [&]<class T>() {
    double extra = wrong.value + wrong.per_thread * omp_get_max_threads();
    if (a.dtype() == DType::f32) extra += wrong.value_f32;
    if (Tape::current()) extra += wrong.recorded;
    for (int64_t i = 0; i < a.numel(); ++i)
      y.data<T>()[i] = static_cast<T>(a.data<T>()[i] * b.data<T>()[i] + extra);
    if (wrong.writes_input) a.data<T>()[0] = T(1);
  });
  return record("product", y, {a, b}, [a, b, wrong](const Tensor& dy) -> Grads {
    Tensor da = empty_like(a), db = empty_like(b);
    dispatch_float(a.dtype(), "product", [&]<class T>() {
      const double factor = 1 + wrong.gradient + (a.dtype() == DType::f32 ? wrong.gradient_f32 : 0),
                   factor_b = wrong.wrong_alone && !needs_grad(a) ? 2 : 1;
      for (int64_t i = 0; i < a.numel(); ++i) {
        da.data<T>()[i] = static_cast<T>(factor * dy.data<T>()[i] * b.data<T>()[i]);
        db.data<T>()[i] = static_cast<T>(factor_b * dy.data<T>()[i] * a.data<T>()[i]);
      }
      if (wrong.spoils_input) a.data<T>()[0] = T(1);
    });
    return {da, db};
  });
}

OpCase case_with(const Defects& wrong) {
  return {.op = "product",
          .name = "3x5",
          .inputs = [](DType dtype, uint64_t seed) -> Tensors {
            return {random_tensor({3, 5}, dtype, seed), random_tensor({3, 5}, dtype, seed + 1)};
          },
          .run = [wrong](const Tensors& x) -> Tensors { return {product(x[0], x[1], wrong)}; },
          .reference = [](const Tensors& x) -> Tensors {
            const double *a = x[0].data<double>(), *b = x[1].data<double>();
            return {tensor_from(x[0].shape(), [a, b](int64_t i) { return a[i] * b[i]; })};
          },
          .has_gpu_kernel = false};
}

// Returns whether the check passes the right operator and refuses this one, by a failure with `words` in it.
template <class Check>
bool refuses(const Check& check, const Defects& wrong, const std::string& words) {
  CHECK(check(case_with({})).ok());
  const Report report = check(case_with(wrong));
  return !report.ok() && contains(report.text(), words);
}

}  // namespace

TEST_CASE("check_operator: a right operator passes, with a check of everything") {
  const Report report = check_operator(case_with({}));
  INFO(report.text());
  CHECK(report.ok());
  CHECK(report.checks() > 30);
  CHECK(contains(report.text(), "operator product, case 3x5"));
  CHECK(report.notes().size() == 1);  // of the GPU
  report.require();
}

TEST_CASE("check_operator: each check refuses the defect that it is for") {
  CHECK(refuses(check_forward, {.value = 1e-6}, "output 0"));
  CHECK(refuses(check_forward, {.value_f32 = 1e-3}, "output 0"));
  CHECK(refuses(check_forward, {.writes_input = true}, "changed its inputs"));
  CHECK(refuses(check_derivative, {.gradient = 1e-3}, "input 0"));
  CHECK(refuses(check_gradients_f32, {.gradient_f32 = 1e-2}, "gradient of input 0"));
  CHECK(refuses(check_threads, {.per_thread = 1e-3}, "with 1 and 2 threads"));
  CHECK(refuses(check_recording, {.recorded = 1e-3}, "with and without a tape"));
  CHECK(refuses(check_recording, {.spoils_input = true}, "backward in f32 changed the inputs"));
  CHECK(refuses(check_gradient_paths, {.wrong_alone = true}, "alone: the gradient of input 1"));
}

TEST_CASE("check_operator: one exception is one failure, and require() throws all failures") {
  const Report report = check_operator(case_with({.throws = true}));
  CHECK(report.failures().size() == 6);  // one for each check
  CHECK(contains(report.failures()[0], "threw: product: no"));
  CHECK(contains(error_of([&report] { report.require(); }), "0 of 6 checks passed"));
}

TEST_CASE("check_operator: a dtype or a number of outputs that is not the reference's is refused") {
  OpCase widened = case_with({});
  widened.run = [](const Tensors& x) -> Tensors { return {product(x[0], x[1], {}).to(DType::f64)}; };
  CHECK(contains(check_forward(widened).text(), "from inputs of f32"));
  OpCase twice = case_with({});
  twice.run = [](const Tensors& x) -> Tensors { return {product(x[0], x[1], {}), x[0]}; };
  CHECK(contains(check_forward(twice).text(), "there are 2 outputs, 1 are expected"));
}

TEST_CASE(
    "check_operator: on a GPU another value, another dtype and another result in each pass are refused") {
  if (!has_cuda()) {
    CHECK(contains(error_of([] { check_gpu_values(case_with({})); }), "there is no GPU"));
    return;
  }
  // y = 2 x on the device of x, which is wrong on a GPU in one way or another.
  const auto twice = [](double extra, bool on_host, bool changes) {
    OpCase result = case_with({});
    result.run = [extra, on_host, changes, passes = 0.0](const Tensors& x) mutable -> Tensors {
      const bool gpu = x[0].device().is_cuda();
      const double factor = 2 + (gpu ? extra : 0) + (gpu && changes ? passes++ * 1e-6 : 0);
      const Tensor y = full(x[0].shape(), factor, x[0].dtype(), x[0].device());
      const Tensor product = record("twice", y, {x[0]}, [factor](const Tensor& dy) -> Grads {
        return {full(dy.shape(), factor, dy.dtype(), dy.device())};
      });
      return {on_host ? product.to(Device::cpu()) : product};
    };
    return result;
  };
  CHECK(check_gpu_values(twice(0, false, false)).ok());
  CHECK(contains(check_gpu_values(twice(1e-3, false, false)).text(), "from the CPU's"));
  CHECK(contains(check_gpu_values(twice(0, true, false)).text(), "is on cpu"));
  CHECK(contains(check_gpu_bf16(twice(0.5, false, false)).text(), "from the CPU's"));
  CHECK(check_gpu_same_bits(twice(0, false, false)).ok());
  CHECK(contains(check_gpu_same_bits(twice(0, false, true)).text(), "differ between two passes"));
  CHECK(contains(check_gpu_derivative(twice(0, false, false)).text(), "backward says"));  // y is constant
}

}  // namespace tandem::testing
