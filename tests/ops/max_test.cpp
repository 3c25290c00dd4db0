// max: cases, ties, NaN, argmax against max, errors.
#include "tandem/ops/max.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/max.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(max) {
  add_unary_signature("max", "max",
                      [](const Tensor& x, const Numbers& n) { return max(x, static_cast<int>(n[0])); },
                      {{"axis", -1, {-3, -2, 0, 1, 2, 1e6}}});
  add_unary_signature("max", "argmax",
                      [](const Tensor& x, const Numbers& n) { return argmax(x, static_cast<int>(n[0])); },
                      {{"axis", -1, {-3, -2, 0, 1, 2, 1e6}}});
}

OP_CASES(max) {
  for (const auto& [shape, axis] : {std::pair{Shape{1}, 0},
                                    {Shape{33}, 0},
                                    {Shape{3, 65}, -1},
                                    {Shape{5, 300}, 1},
                                    {Shape{65, 2, 7}, 0},
                                    {Shape{5, 33, 3}, 1},
                                    {Shape{400, 99}, 1},
                                    {Shape{99, 400}, 0}})
    add_op_case(
        {.op = "max",
         .name = shape.str() + " over axis " + std::to_string(axis),
         // A shuffled row of distinct numbers, so that a difference step changes no order.
         .inputs = [shape = shape](DType dtype, uint64_t seed) -> Tensors {
           const auto value = [seed](int64_t i) {
             return static_cast<double>((i * 7919 + static_cast<int64_t>(seed) * 31) % 104729) / 4096;
           };
           return {tensor_from(shape, value).to(dtype)};
         },
         .run = [axis = axis](const Tensors& x) -> Tensors { return {max(x[0], axis)}; },
         .reference = [axis = axis](const Tensors& x) -> Tensors { return {reference::max(x[0], axis)}; }});
}

TEST_CASE("max: argmax is where the largest element stands, along every axis") {
  for (const Device device : test_devices()) {
    const Tensor x = random_tensor({9, 40, 5}, DType::f32, 3);
    for (const int axis : {0, 1, 2, -1}) {
      const AxisSplit s = split_at(x.shape(), axis);
      const Tensor index = argmax(x.to(device), axis).to(Device::cpu());
      const Tensor largest = max(x.to(device), axis).to(Device::cpu());
      CHECK(index.dtype() == DType::i32);
      REQUIRE(index.shape() == without_axis(x.shape(), axis));
      for (int64_t i = 0; i < index.numel(); ++i) {
        const int64_t k = index.data<int32_t>()[i];
        REQUIRE((k >= 0 && k < s.count));
        CHECK(x.data<float>()[(i / s.inner * s.count + k) * s.inner + i % s.inner] ==
              largest.data<float>()[i]);
      }
    }
  }
}

TEST_CASE("max: of equal elements the first one counts, and gets the gradient; NaN is the largest") {
  for (const Device device : test_devices())
    for (const int64_t n : {3, 70}) {
      CAPTURE(n);
      std::vector<double> values(static_cast<size_t>(n), 1);
      values[1] = 2;
      values[static_cast<size_t>(n) - 1] = 2;
      const Tensor x = requires_grad(tensor_of<double>({n}, values).to(device));
      CHECK(argmax(x).item() == 1);
      CHECK(argmax(x.detach().view_as({n, 1}), 0).item() == 1);
      Tape tape;
      tape.backward(max(x));
      std::vector<double> expected(static_cast<size_t>(n));
      expected[1] = 1;
      CHECK(grad(x).to_vector<double>() == expected);

      values[0] = -INFINITY;
      values[2] = std::nan("");
      values[static_cast<size_t>(n) - 1] = std::nan("");
      CHECK(std::isnan(max(tensor_of<double>({n}, values).to(device)).item()));
      CHECK(argmax(tensor_of<double>({n}, values).to(device)).item() == 2);
      CHECK(argmax(full({n}, -INFINITY, DType::f32, device)).item() == 0);
    }
}

TEST_CASE("max: empty tensors and errors") {
  CHECK(max(zeros({0, 3}, DType::f32), 1).shape() == Shape{0});
  CHECK(error_of([] {
          max(zeros({3, 0}, DType::f32));
        }) == "max: x is f32 (3, 0) on cpu; axis -1 must have at least one element, and fewer than 2^31");
  CHECK(error_of([] { argmax(zeros({2}, DType::f32), 1); }) ==
        "argmax: x is f32 (2) on cpu; it has no axis 1, its axes are -1 to 0");
  CHECK(contains(error_of([] { max(zeros({2}, DType::i32)); }),
                 "max: x is i32 (2) on cpu; its dtype must be f32"));
}

}  // namespace
}  // namespace tandem::testing
