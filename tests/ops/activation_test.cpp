// activation: cases, golden numbers of the three GELUs, edges of the domains, errors.
#include "tandem/ops/activation.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/activation.h"
#include "tandem/ops/slice.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"
#include "tests/support/same_bits.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

void add_cases(const char* name, Activation kind, double (*reference)(double), double lo, double hi) {
  for (const Shape& shape : {Shape{1}, Shape{3}, Shape{33, 65}, Shape{70000}})
    add_op_case({.op = "activation",
                 .name = std::string(name) + " " + shape.str(),
                 .inputs = [shape, lo, hi](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed, lo, hi)};
                 },
                 .run = [kind](const Tensors& x) -> Tensors { return {activation(x[0], kind)}; },
                 .reference = [reference](const Tensors& x) -> Tensors {
                   const double* a = x[0].data<double>();
                   return {tensor_from(x[0].shape(), [a, reference](int64_t i) { return reference(a[i]); })};
                 },
                 // A single value may lie where the terms of a GELU almost cancel.
                 .tolerance_f32 = shape.numel() == 1 ? 1e-4 : 1e-5,
                 // The derivative 1 - y^2 of tanh is computed from a y that bf16 has rounded, near 1.
                 .tolerance_bf16 = shape.numel() == 1 && kind == Activation::tanh ? 0.5 : 2e-2});
}

SIGNATURES(activation) {
  add_unary_signature("activation", "relu", [](const Tensor& x, const Numbers&) { return relu(x); }, {});
  add_unary_signature("activation", "squared_relu",
                      [](const Tensor& x, const Numbers&) { return squared_relu(x); }, {});
  add_unary_signature("activation", "sigmoid", [](const Tensor& x, const Numbers&) { return sigmoid(x); },
                      {});
  add_unary_signature("activation", "tanh", [](const Tensor& x, const Numbers&) { return tanh(x); }, {});
  add_unary_signature("activation", "silu", [](const Tensor& x, const Numbers&) { return silu(x); }, {});
  add_unary_signature("activation", "exp", [](const Tensor& x, const Numbers&) { return exp(x); }, {});
  add_unary_signature("activation", "log", [](const Tensor& x, const Numbers&) { return log(x); }, {});
  add_unary_signature("activation", "sqrt", [](const Tensor& x, const Numbers&) { return sqrt(x); }, {});
  add_unary_signature("activation", "square", [](const Tensor& x, const Numbers&) { return square(x); }, {});
  add_unary_signature(
      "activation", "activation",
      [](const Tensor& x, const Numbers&) { return activation(x, Activation::gelu_tanh); }, {}, "gelu_tanh");
  add_unary_signature("activation", "gelu",
                      [](const Tensor& x, const Numbers&) { return gelu(x, Gelu::erf); }, {});
  add_unary_signature("activation", "gelu",
                      [](const Tensor& x, const Numbers&) { return gelu(x, Gelu::tanh); }, {});
  add_unary_signature("activation", "gelu",
                      [](const Tensor& x, const Numbers&) { return gelu(x, Gelu::sigmoid1702); }, {});
}

OP_CASES(activation) {
  using A = Activation;
  add_cases("relu", A::relu, reference::relu, -2, 2);
  add_cases("squared_relu", A::squared_relu, reference::squared_relu, -2, 2);
  add_cases("sigmoid", A::sigmoid, reference::sigmoid, -8, 8);
  add_cases("tanh", A::tanh, std::tanh, -4, 4);
  add_cases("silu", A::silu, reference::silu, -6, 6);
  add_cases("gelu_erf", A::gelu_erf, reference::gelu_erf, -4, 4);
  add_cases("gelu_tanh", A::gelu_tanh, reference::gelu_tanh, -4, 4);
  add_cases("gelu_sigmoid1702", A::gelu_sigmoid1702, reference::gelu_sigmoid1702, -4, 4);
  add_cases("exp", A::exp, std::exp, -3, 3);
  add_cases("log", A::log, std::log, 0.25, 4);
  add_cases("sqrt", A::sqrt, std::sqrt, 0.25, 4);
  add_cases("square", A::square, reference::square, -3, 3);
}

TEST_CASE("activation: the three GELUs match the golden numbers, forward and backward") {
  const std::pair<const char*, Gelu> forms[] = {
      {"erf", Gelu::erf}, {"tanh", Gelu::tanh}, {"sigmoid1702", Gelu::sigmoid1702}};
  for (const auto& entry : forms) {
    const std::string name = entry.first;
    const Gelu form = entry.second;
    INFO(name);
    for (const DType dtype : {DType::f64, DType::f32}) {
      const Tensor x = requires_grad(golden("ops/inputs", "gelu.x").to(dtype));
      Tape tape;
      const Tensor y = gelu(x, form);
      tape.backward({y}, {golden("ops/inputs", "gelu.dy").to(dtype)});
      const double tolerance = dtype == DType::f64 ? 1e-9 : 1e-6;
      CHECK(relative_error(y, golden("ops/outputs", "gelu." + name + ".y")) <= tolerance);
      CHECK(relative_error(grad(x), golden("ops/grads", "gelu." + name + ".x")) <= tolerance);
    }
  }
}

TEST_CASE("activation: relu() and the other named functions call the right kind") {
  const Tensor x = tensor_of<double>({2}, {0.75, -0.5});
  const auto check = [](const Tensor& y, double first, double second) {
    CHECK(y.to_vector<double>()[0] == doctest::Approx(first));
    CHECK(y.to_vector<double>()[1] == doctest::Approx(second));
  };
  check(relu(x), 0.75, 0);
  check(squared_relu(x), 0.5625, 0);
  check(sigmoid(x), 0.679178699, 0.377540669);
  check(tanh(x), 0.635148952, -0.462117157);
  check(silu(x), 0.509384024, -0.188770334);
  check(exp(x), 2.117000017, 0.606530660);
  check(square(x), 0.5625, 0.25);
  check(log(square(x)), -0.575364145, -1.386294361);
  check(sqrt(square(x)), 0.75, 0.5);
}

TEST_CASE("activation: large values saturate, and NaN stays NaN") {
  const float inf = std::numeric_limits<float>::infinity();
  const Tensor x = tensor_of<float>({4}, {-inf, -1e4f, 1e4f, inf});
  CHECK(sigmoid(x).to_vector<float>() == std::vector<float>{0, 0, 1, 1});
  CHECK(tanh(x).to_vector<float>() == std::vector<float>{-1, -1, 1, 1});
  CHECK(relu(x).to_vector<float>() == std::vector<float>{0, 0, 1e4f, inf});
  CHECK(gelu(x, Gelu::erf).to_vector<float>()[2] == 1e4f);
  CHECK(std::isnan(log(tensor_of<float>({1}, {-1})).item()));
  const Tensor nan = tensor_of<float>({1}, {std::nanf("")});
  for (int kind = 0; kind <= static_cast<int>(Activation::square); ++kind) {
    INFO(kind);
    CHECK(std::isnan(activation(nan, static_cast<Activation>(kind)).item()));
  }
}

TEST_CASE("activation: fast_erf is within 3e-7 in f32") {
  double largest = 0;
  for (float x = -5; x < 5; x += 1e-3f)
    largest = std::max(largest, std::abs(double{fast_erf(x)} - std::erf(double{x})));
  CHECK(largest < 3e-7);
}

// A text in a batch then gets the bits that it has alone: vector instructions compute most elements of an array, and a
// scalar loop, or shorter vectors, the last ones.
TEST_CASE("activation: the bits of an element do not depend on the place where it stands") {
  const auto values_and_gradients = [](const Tensor& values, const Tensor& dy, Activation kind) {
    const Tensor x = requires_grad(values);
    Tape tape;
    const Tensor y = activation(x, kind);
    tape.backward({y}, {dy});
    return Tensors{y, grad(x)};
  };
  constexpr int64_t kCount = 203;
  for (const DType dtype : {DType::f32, DType::f64})
    for (int kind = 0; kind <= static_cast<int>(Activation::square); ++kind) {
      const auto activation_kind = static_cast<Activation>(kind);
      const bool is_positive = activation_kind == Activation::log || activation_kind == Activation::sqrt;
      const Tensor x = random_tensor({kCount}, dtype, 5, is_positive ? 0.1 : -5, 5);
      const Tensor dy = random_tensor({kCount}, dtype, 6, -1, 1);
      const Tensors all = values_and_gradients(x, dy, activation_kind);
      for (const int64_t n : {1, 3, 7, 20})
        for (int64_t i = 0; i + n <= kCount; i += n) {
          const Tensors some = values_and_gradients(slice(x, i, i + n), slice(dy, i, i + n), activation_kind);
          for (const size_t which : {0, 1}) {
            INFO(std::string(name_of(dtype)), ", kind ", kind, ", result ", which, ", elements ", i, " and ",
                 n - 1, " more");
            REQUIRE(same_bits(some[which], slice(all[which], i, i + n)));
          }
        }
    }
}

TEST_CASE("activation: errors") {
  CHECK_THROWS_WITH_AS(relu(zeros({2}, DType::i64)),
                       "relu: x is i64 (2) on cpu; its dtype must be f32 or f64 on the CPU", Error);
}

}  // namespace
}  // namespace tandem::testing
