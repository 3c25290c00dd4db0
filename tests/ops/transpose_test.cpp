// transpose: cases of all kinds of axes, every dtype, errors.
#include "tandem/ops/transpose.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/transpose.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(transpose) {
  add_unary_signature("transpose", "transpose",
                      [](const Tensor& x, const Numbers& n) {
                        return transpose(x, static_cast<int>(n[0]), static_cast<int>(n[1]));
                      },
                      {{"axis", -2, {-3, -1, 0, 1, 2, 1e6}}, {"axis", -1, {-3, -2, 0, 1, 2, 1e6}}});
}

OP_CASES(transpose) {
  for (const auto& [shape, a, b] : {std::tuple{Shape{1, 1}, 0, 1},
                                    {Shape{3, 33}, 0, 1},
                                    {Shape{65, 70}, 1, 0},
                                    {Shape{5, 3, 33}, 1, 2},
                                    {Shape{5, 3, 33}, 0, 1},
                                    {Shape{33, 3, 40}, 0, 2},
                                    {Shape{2, 3, 4, 5}, 1, 3},
                                    {Shape{2, 3, 4, 5}, 0, 2},
                                    {Shape{4, 5}, 1, 1},
                                    {Shape{300, 211}, 0, 1}})
    add_op_case({.op = "transpose",
                 .name = shape.str() + ", axes " + std::to_string(a) + " and " + std::to_string(b),
                 .inputs = [shape = shape](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed)};
                 },
                 .run = [a = a, b = b](const Tensors& x) -> Tensors { return {transpose(x[0], a, b)}; },
                 .reference = [a = a, b = b](const Tensors& x) -> Tensors {
                   return {reference::transpose(x[0], a, b)};
                 }});
}

TEST_CASE(
    "transpose: every dtype, the last two axes if none are named, and a copy even of one axis with itself") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i32, DType::i64, DType::u8}) {
      CAPTURE(std::string(name_of(dtype)));
      const Tensor x = tensor_of({1, 2, 3}, {1, 2, 3, 4, 5, 6}).to(dtype).to(device);
      const Tensor y = transpose(x);
      CHECK(y.shape() == Shape{1, 3, 2});
      CHECK(y.to(DType::f64).to_vector<double>() == std::vector<double>{1, 4, 2, 5, 3, 6});
      CHECK(transpose(x, -1, -1).raw() != x.raw());
    }
}

TEST_CASE("transpose: empty tensors and errors") {
  CHECK(transpose(zeros({0, 3}, DType::f32)).shape() == Shape{3, 0});
  CHECK(error_of([] { transpose(zeros({3}, DType::f32)); }) ==
        "transpose: x is f32 (3) on cpu; it has no axis -2, its axes are -1 to 0");
  CHECK(error_of([] {
          transpose(zeros({2, 3}, DType::f32), 0, 2);
        }) == "transpose: x is f32 (2, 3) on cpu; it has no axis 2, its axes are -2 to 1");
}

}  // namespace
}  // namespace tandem::testing
