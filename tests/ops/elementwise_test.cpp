// elementwise: cases, the named functions, edges, errors.
#include "tandem/ops/elementwise.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tandem/autograd/tape.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/reference/elementwise.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

struct Range {
  double low, high;  // of the inputs
};

void add_cases(const char* name, Elementwise kind, double (*reference)(double, double, double), Range range,
               double a = 0, double b = 0) {
  for (const Shape& shape : {Shape{1}, Shape{3}, Shape{33, 65}, Shape{70000}})
    add_op_case({.op = "elementwise",
                 .name = std::string(name) + " " + shape.str(),
                 .inputs = [shape, range](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed, range.low, range.high)};
                 },
                 .run = [kind, a, b](const Tensors& x) -> Tensors { return {elementwise(x[0], kind, a, b)}; },
                 .reference = [reference, a, b](const Tensors& x) -> Tensors {
                   const double* value = x[0].data<double>();
                   return {tensor_from(x[0].shape(), [value, reference, a, b](int64_t i) {
                     return reference(value[i], a, b);
                   })};
                 }});
}

SIGNATURES(elementwise) {
  add_unary_signature(
      "elementwise", "elementwise",
      [](const Tensor& x, const Numbers&) { return elementwise(x, Elementwise::softplus); }, {}, "softplus");
  add_unary_signature("elementwise", "abs", [](const Tensor& x, const Numbers&) { return abs(x); }, {});
  add_unary_signature("elementwise", "softplus", [](const Tensor& x, const Numbers&) { return softplus(x); },
                      {});
  add_unary_signature("elementwise", "clamp",
                      [](const Tensor& x, const Numbers& n) { return clamp(x, n[0], n[1]); },
                      {{"low", -1, {2, -HUGE_VAL, NAN}}, {"high", 1, {-2, HUGE_VAL, NAN}}});
  add_unary_signature("elementwise", "pow", [](const Tensor& x, const Numbers& n) { return pow(x, n[0]); },
                      {{"exponent", 2, {0, -1, 0.5, HUGE_VAL, NAN}}});
  add_unary_signature(
      "elementwise", "operator", [](const Tensor& x, const Numbers& n) { return x + n[0]; },
      {{"number", 2, {0, HUGE_VAL, NAN}}}, "add_number");
  add_unary_signature(
      "elementwise", "operator", [](const Tensor& x, const Numbers& n) { return n[0] - x; },
      {{"number", 2, {0, HUGE_VAL, NAN}}}, "subtract_from");
  add_unary_signature(
      "elementwise", "operator", [](const Tensor& x, const Numbers& n) { return x / n[0]; },
      {{"number", 2, {0, HUGE_VAL, NAN}}}, "divide_by");
}

OP_CASES(elementwise) {
  using E = Elementwise;
  add_cases("x + 1.5", E::add_number, reference::add_number, {-2, 2}, 1.5);
  add_cases("1.5 - x", E::subtract_from, reference::subtract_from, {-1, 1}, 1.5);
  add_cases("x / 3", E::divide_by, reference::divide_by, {-2, 2}, 3);
  add_cases("abs", E::abs, reference::abs, {-2, 2});
  add_cases("clamp", E::clamp, reference::clamp, {-1, 1}, -0.35, 0.6);
  add_cases("pow 1.5", E::pow, reference::pow, {0.25, 4}, 1.5);
  add_cases("pow -2", E::pow, reference::pow, {0.5, 2}, -2);
  add_cases("softplus", E::softplus, reference::softplus, {-8, 8});
}

std::vector<double> list(const Tensor& x) {
  return x.to_vector<double>();
}

// Returns the gradient of the sum of f(x).
template <class F>
std::vector<double> slopes(const std::vector<double>& values, const F& f) {
  const Tensor x = requires_grad(tensor_of<double>({static_cast<int64_t>(values.size())}, values));
  Tape tape;
  const Tensor y = f(x);
  tape.backward({y}, {full(y.shape(), 1, DType::f64)});
  return list(grad(x));
}

TEST_CASE("elementwise: the named functions and operators call the right kind") {
  const Tensor x = tensor_of<double>({2}, std::vector<double>{0.75, -0.5});
  CHECK(list(x + 1.0) == std::vector<double>{1.75, 0.5});
  CHECK(list(1.0 + x) == std::vector<double>{1.75, 0.5});
  CHECK(list(x - 1.0) == std::vector<double>{-0.25, -1.5});
  CHECK(list(1.0 - x) == std::vector<double>{0.25, 1.5});
  CHECK(list(x / 4.0) == std::vector<double>{0.1875, -0.125});
  CHECK(list(2.0 * x) == std::vector<double>{1.5, -1});
  CHECK(list(abs(x)) == std::vector<double>{0.75, 0.5});
  CHECK(list(clamp(x, -0.25, 0.5)) == std::vector<double>{0.5, -0.25});
  CHECK(list(pow(x, 2)) == std::vector<double>{0.5625, 0.25});
  CHECK(list(softplus(x))[0] == doctest::Approx(std::log(1 + std::exp(0.75))));
}

TEST_CASE("elementwise: edges of the domains") {
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<double> far = {-1000, 0, 1000};
  CHECK(list(softplus(tensor_of<double>({3}, far))) == std::vector<double>{0, std::log(2), 1000});
  CHECK(slopes(far, softplus) == std::vector<double>{0, 0.5, 1});
  CHECK(slopes({-2, 0, 3}, [](const Tensor& x) { return abs(x); }) == std::vector<double>{-1, 0, 1});
  CHECK(slopes({-2, -1, 0, 1, 2}, [](const Tensor& x) { return clamp(x, -1, 1); }) ==
        std::vector<double>{0, 1, 1, 1, 0});
  CHECK(slopes({0, 2}, [](const Tensor& x) { return pow(x, 0); }) == std::vector<double>{0, 0});
  CHECK(slopes({0, -3}, [](const Tensor& x) { return pow(x, 2); }) == std::vector<double>{0, -6});
  CHECK(std::isnan(list(pow(tensor_of<double>({1}, std::vector<double>{-1}), 0.5))[0]));
  CHECK(list(clamp(tensor_of<double>({1}, std::vector<double>{5}), -inf, inf)) == std::vector<double>{5});
  CHECK(std::isnan(list(clamp(tensor_of<double>({1}, std::vector<double>{std::nan("")}), 0, 1))[0]));
}

TEST_CASE("elementwise: impossible arguments are refused by the name of the function") {
  const Tensor x = zeros({2}, DType::f32);
  CHECK(contains(error_of([] { abs(Tensor()); }), "abs: x is an undefined tensor"));
  CHECK(contains(error_of([] { softplus(zeros({2}, DType::i32)); }), "softplus: x is i32 (2) on cpu"));
  CHECK(contains(error_of([&x] { clamp(x, 2, 1); }), "clamp: low is 2 and high 1"));
  CHECK(contains(error_of([&x] { x + std::nan(""); }), "add_number: the number is NaN"));
}

}  // namespace
}  // namespace tandem::testing
