// cumulative: cases along both kinds of axes, large and infinite values, errors.
#include "tandem/ops/cumulative.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/cumulative.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

using Along = Tensor (*)(const Tensor&, int);

void add_cases(const char* name, Along run, Along reference) {
  for (const auto& [shape, axis] : {std::pair{Shape{1}, 0},
                                    {Shape{33}, 0},
                                    {Shape{3, 65}, -1},
                                    {Shape{5, 300}, 1},
                                    {Shape{65, 2, 7}, 0},
                                    {Shape{5, 33, 3}, 1},
                                    {Shape{3, 4, 31}, 2},
                                    {Shape{40, 3, 129}, 0},
                                    {Shape{170, 201}, 1}})
    add_op_case({.op = "cumulative",
                 .name = std::string(name) + " " + shape.str() + " along axis " + std::to_string(axis),
                 .inputs = [shape = shape](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed, -2, 2)};
                 },
                 .run = [run, axis = axis](const Tensors& x) -> Tensors { return {run(x[0], axis)}; },
                 .reference = [reference, axis = axis](const Tensors& x) -> Tensors {
                   return {reference(x[0], axis)};
                 }});
}

SIGNATURES(cumulative) {
  add_unary_signature("cumulative", "cumsum",
                      [](const Tensor& x, const Numbers& n) { return cumsum(x, static_cast<int>(n[0])); },
                      {{"axis", -1, {-3, -2, 0, 1, 2, 1e6}}});
  add_unary_signature(
      "cumulative", "logcumsumexp",
      [](const Tensor& x, const Numbers& n) { return logcumsumexp(x, static_cast<int>(n[0])); },
      {{"axis", -1, {-3, -2, 0, 1, 2, 1e6}}});
}

OP_CASES(cumulative) {
  add_cases("cumsum", cumsum, reference::cumsum);
  add_cases("logcumsumexp", logcumsumexp, reference::logcumsumexp);
}

TEST_CASE("cumulative: long sums in f32 keep their digits") {
  for (const Device device : test_devices()) {
    const int64_t n = 1 << 18;
    const Tensor y = cumsum(full({n}, 0.1, DType::f32, device), 0);
    CHECK(y.to_vector<float>()[n - 1] == static_cast<float>(0.1f * static_cast<double>(n)));
  }
}

TEST_CASE("cumulative: logcumsumexp of large numbers does not overflow, and an offset changes no gradient") {
  for (const Device device : test_devices())
    for (const Shape& shape : {Shape{40}, Shape{40, 2}}) {
      const auto run = [&](double offset, DType dtype, Device where) {
        Tensor x(shape, DType::f64);
        for (int64_t i = 0; i < x.numel(); ++i) x.data<double>()[i] = offset + static_cast<double>(i * i % 7);
        const Tensor leaf = requires_grad(x.to(dtype).to(where));
        Tape tape;
        const Tensor y = logcumsumexp(leaf, 0);
        tape.backward({y}, {random_tensor(shape, dtype, 3).to(where)});
        return std::pair{y.detach().to(Device::cpu()).to(DType::f64),
                         grad(leaf).to(Device::cpu()).to(DType::f64)};
      };
      const auto expected = run(0, DType::f64, Device::cpu());
      for (const double offset : {1e3, -1e3, 1e7, -1e7, 1.6e7}) {
        CAPTURE(offset);
        const auto [y, dx] = run(offset, DType::f32, device);
        CHECK(relative_error(dx, expected.second) < 1e-6);
        for (int64_t i = 0; i < y.numel(); ++i)
          CHECK(y.data<double>()[i] == static_cast<float>(offset + expected.first.data<double>()[i]));
      }
    }
}

TEST_CASE("cumulative: logcumsumexp where there is nothing yet, and where there is too much") {
  const double inf = INFINITY;
  for (const Device device : test_devices()) {
    const Tensor x = requires_grad(tensor_of({4}, {-inf, -inf, 0.0, 0.0}).to(device));
    Tape tape;
    const Tensor y = logcumsumexp(x, -1);
    CHECK(y.to_vector<double>() == std::vector<double>{-inf, -inf, 0, std::log(2)});
    tape.backward({y}, {full({4}, 1, DType::f64, device)});
    CHECK(grad(x).to_vector<double>() == std::vector<double>{0, 0, 1.5, 0.5});
    const auto z = logcumsumexp(tensor_of({4}, {0.0, inf, 1.0, inf}).to(device), 0).to_vector<double>();
    CHECK(z == std::vector<double>{0, inf, inf, inf});
    const auto nan = logcumsumexp(tensor_of({3}, {0.0, std::nan(""), 1.0}).to(device), 0).to_vector<double>();
    CHECK(nan[0] == 0);
    CHECK((std::isnan(nan[1]) && std::isnan(nan[2])));
  }
}

TEST_CASE("cumulative: empty tensors and errors") {
  CHECK(cumsum(zeros({0, 3}, DType::f32), 0).shape() == Shape{0, 3});
  CHECK(logcumsumexp(zeros({3, 0}, DType::f32), 1).shape() == Shape{3, 0});
  CHECK(error_of([] {
          cumsum(zeros({2, 3}, DType::f32), 2);
        }) == "cumsum: x is f32 (2, 3) on cpu; it has no axis 2, its axes are -2 to 1");
  CHECK(error_of([] { logcumsumexp(zeros({}, DType::f32), 0); }) ==
        "logcumsumexp: x is f32 () on cpu, which has no axis");
  CHECK(contains(error_of([] { cumsum(zeros({2}, DType::i32), 0); }),
                 "cumsum: x is i32 (2) on cpu; its dtype must be f32"));
}

}  // namespace
}  // namespace tandem::testing
