// arithmetic: cases, the operators + - * / on tensors, empty tensors, errors.
#include "tandem/ops/arithmetic.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/reference/arithmetic.h"
#include "tests/support/devices.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

using Pair = Tensor (*)(const Tensor&, const Tensor&);

void add_pair_case(const char* name, Shape a, Shape b, Pair run, double (*f)(double, double),
                   std::vector<int> weights = {}) {
  add_op_case(
      {.op = "arithmetic",
       .name = std::string(name) + " " + a.str() + " " + b.str() + (weights.empty() ? "" : " f32"),
       .inputs = [a, b](DType dtype, uint64_t seed) -> Tensors {
         return {random_tensor(a, dtype, seed), random_tensor(b, dtype, seed + 1, 0.5, 2)};
       },
       .run = [run](const Tensors& x) -> Tensors { return {run(x[0], x[1])}; },
       .reference = [f](const Tensors& x) -> Tensors { return {reference::elementwise(x[0], x[1], f)}; },
       .weights = weights});
}

SIGNATURES(arithmetic) {
  add_signature({.op = "arithmetic",
                 .function = "add",
                 .sizes = {3, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"a", {n[0], n[1]}}, {"b", {n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors { return {add(x[0], x[1])}; }});
  add_signature({.op = "arithmetic",
                 .function = "sub",
                 .sizes = {3, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"a", {n[0], n[1]}}, {"b", {n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors { return {sub(x[0], x[1])}; }});
  add_signature({.op = "arithmetic",
                 .function = "mul",
                 .sizes = {3, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"a", {n[0], n[1]}}, {"b", {n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors { return {mul(x[0], x[1])}; }});
  add_signature({.op = "arithmetic",
                 .function = "div",
                 .sizes = {3, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"a", {n[0], n[1]}}, {"b", {n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors { return {div(x[0], x[1])}; }});
  add_unary_signature("arithmetic", "scale", [](const Tensor& x, const Numbers& n) { return scale(x, n[0]); },
                      {{"factor", 2, {0, NAN, HUGE_VAL}}});
  add_unary_signature("arithmetic", "neg", [](const Tensor& x, const Numbers&) { return neg(x); }, {});
}

OP_CASES(arithmetic) {
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{3, 33}, Shape{65, 3, 5}, Shape{300, 211}}) {
    add_pair_case("add", shape, shape, add, [](double a, double b) { return a + b; });
    add_pair_case("sub", shape, shape, sub, [](double a, double b) { return a - b; });
    add_pair_case("mul", shape, shape, mul, [](double a, double b) { return a * b; });
    add_pair_case("div", shape, shape, div, [](double a, double b) { return a / b; });
  }
  const auto sum = [](double a, double b) { return a + b; };
  const auto difference = [](double a, double b) { return a - b; };
  const auto product = [](double a, double b) { return a * b; };
  const auto quotient = [](double a, double b) { return a / b; };
  for (const auto& [a, b] : {std::pair<Shape, Shape>{{5, 7}, {}},
                             {{33, 65}, {65}},
                             {{4, 3, 33}, {3, 33}},
                             {{1, 1}, {1}},
                             {{700, 129}, {129}},
                             {{50, 24}, {24}}})
    for (const std::vector<int>& weights : {std::vector<int>{}, {1}}) {
      add_pair_case("add", a, b, add, sum, weights);
      add_pair_case("sub", a, b, sub, difference, weights);
      add_pair_case("mul", a, b, mul, product, weights);
      add_pair_case("div", a, b, div, quotient, weights);
    }
  add_pair_case("mul", {3, 33}, {3, 33}, mul, product, {1});  // b in f32 where a is bf16, without repetition
  for (const Shape& shape : {Shape{1}, Shape{33, 65}, Shape{70000}})
    add_op_case({.op = "arithmetic",
                 .name = "scale and neg " + shape.str(),
                 .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed)};
                 },
                 .run = [](const Tensors& x) -> Tensors {
                   return {scale(x[0], -2.5), neg(x[0])};
                 },
                 .reference = [](const Tensors& x) -> Tensors {
                   const double* a = x[0].data<double>();
                   return {tensor_from(x[0].shape(), [a](int64_t i) { return -2.5 * a[i]; }),
                           tensor_from(x[0].shape(), [a](int64_t i) { return -a[i]; })};
                 }});
}

TEST_CASE("arithmetic: y = a * b and its gradients") {
  const Tensor a = requires_grad(tensor_of<double>({2}, {3, -4}));
  const Tensor b = requires_grad(tensor_of<double>({2}, {5, 7}));
  Tape tape;
  const Tensor y = 2.0 * (a * b) - a / b + (-b);
  tape.backward(sum(y));
  CHECK(y.to_vector<double>()[0] == doctest::Approx(30 - 0.6 - 5));
  CHECK(grad(a).to_vector<double>()[0] == doctest::Approx(10 - 1.0 / 5));
  CHECK(grad(b).to_vector<double>()[1] == doctest::Approx(-8 - 4.0 / 49 - 1));
}

TEST_CASE("arithmetic: the gradient of a tensor used three times") {
  const Tensor a = requires_grad(tensor_of<double>({1}, {3}));
  Tape tape;
  tape.backward(a * a + a);
  CHECK(grad(a).item() == 7);
}

TEST_CASE("arithmetic: empty tensors and division by zero") {
  for (const Device device : test_devices()) {
    const auto nothing = [device](Shape shape) { return zeros(shape, DType::f32, device); };
    CHECK(add(nothing({0, 3}), nothing({3})).shape() == Shape{0, 3});
    CHECK(add(nothing({2, 0}), nothing({0})).shape() == Shape{2, 0});
    CHECK(scale(nothing({0}), 2).numel() == 0);
    const Tensor b = requires_grad(full({3}, 1, DType::f32, device));
    Tape tape;
    tape.backward(sum(add(nothing({0, 3}), b)));
    CHECK(grad(b).to_vector<float>() == std::vector<float>{0, 0, 0});
    CHECK(std::isinf(div(full({1}, 1, DType::f32, device), nothing({1})).item()));
  }
}

TEST_CASE("arithmetic: the gradient of a repeated tensor adds up over the repetitions and over passes") {
  for (const Device device : test_devices()) {
    const Tensor b = requires_grad(zeros({24}, DType::f32, device));
    Tape tape;
    const Tensor y = add(add(zeros({300, 24}, DType::f32, device), b), b);
    tape.backward({y}, {full({300, 24}, 0.5, DType::f32, device)});
    CHECK(grad(b).to_vector<float>() == std::vector<float>(24, 300));
    Tape next;
    next.backward({mul(full({300, 24}, 2, DType::f32, device), b)},
                  {full({300, 24}, 0.25, DType::f32, device)});
    CHECK(grad(b).to_vector<float>() == std::vector<float>(24, 450));
  }
}

TEST_CASE("arithmetic: errors") {
  const Tensor a = zeros({2, 3}, DType::f32);
  CHECK_THROWS_WITH_AS(div(a, zeros({2}, DType::f32)),
                       "div: shapes do not fit: a is (2, 3), b is (2); b's must be a's or the end of a's",
                       Error);
  CHECK_THROWS_WITH_AS(mul(a, zeros({2}, DType::f32)),
                       "mul: shapes do not fit: a is (2, 3), b is (2); b's must be a's or the end of a's",
                       Error);
  CHECK_THROWS_WITH_AS(
      mul(a, zeros({3}, DType::bf16)),
      "mul: a is f32 (2, 3) on cpu, b is bf16 (3) on cpu; bring both to one dtype and device with .to()",
      Error);
  CHECK_THROWS_WITH_AS(add(a, zeros({2}, DType::f32)),
                       "add: shapes do not fit: a is (2, 3), b is (2); b's must be a's or the end of a's",
                       Error);
  CHECK_THROWS_WITH_AS(add(zeros({3}, DType::f32), a),
                       "add: shapes do not fit: a is (3), b is (2, 3); b's must be a's or the end of a's",
                       Error);
  CHECK_THROWS_WITH_AS(
      sub(a, zeros({2, 3}, DType::f64)),
      "sub: a is f32 (2, 3) on cpu, b is f64 (2, 3) on cpu; bring both to one dtype and device with .to()",
      Error);
  CHECK_THROWS_WITH_AS(scale(zeros({2}, DType::i32), 2),
                       "scale: x is i32 (2) on cpu; its dtype must be f32 or f64 on the CPU", Error);
}

}  // namespace
}  // namespace tandem::testing
