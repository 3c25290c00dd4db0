// chunk_sum: cases with and without elements after the last whole chunk, and errors.
#include "tandem/ops/chunk_sum.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/chunk_sum.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(chunk_sum) {
  add_unary_signature(
      "chunk_sum", "chunk_sum",
      [](const Tensor& x, const Numbers& n) { return chunk_sum(x, static_cast<int64_t>(n[0])); },
      {{"width", 2, {0, -1, 1, 3, 4, 1e18}}});
}

OP_CASES(chunk_sum) {
  for (const auto& [shape, width] : {std::pair<Shape, int64_t>{{1}, 1},
                                     {{33}, 33},
                                     {{65}, 3},
                                     {{3, 33}, 5},
                                     {{3, 65, 4}, 1},
                                     {{5, 3, 72}, 24},
                                     {{70, 1032}, 256},
                                     {{200, 300}, 75}})
    add_op_case({.op = "chunk_sum",
                 .name = shape.str() + " in chunks of " + std::to_string(width),
                 .inputs = [shape = shape](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed)};
                 },
                 .run = [width = width](const Tensors& x) -> Tensors { return {chunk_sum(x[0], width)}; },
                 .reference = [width = width](const Tensors& x) -> Tensors {
                   return {reference::chunk_sum(x[0], width)};
                 }});
}

TEST_CASE("chunk_sum: elements after the last whole chunk are dropped and get no gradient") {
  for (const Device device : test_devices()) {
    const Tensor x = requires_grad(tensor_of<float>({2, 5}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10}).to(device));
    Tape tape;
    const Tensor y = chunk_sum(x, 2);
    CHECK(y.to_vector<float>() == std::vector<float>{4, 6, 14, 16});
    tape.backward({y}, {tensor_of<float>({2, 2}, {1, 2, 3, 4}).to(device)});
    CHECK(grad(x).to_vector<float>() == std::vector<float>{1, 2, 1, 2, 0, 3, 4, 3, 4, 0});
    CHECK(chunk_sum(zeros({0, 5}, DType::f32, device), 2).shape() == Shape{0, 2});
  }
}

TEST_CASE("chunk_sum: errors") {
  const auto error = [](Shape shape, int64_t width, DType dtype) {
    return error_of([&] { chunk_sum(zeros(shape, dtype), width); });
  };
  CHECK(
      error({2, 3}, 4, DType::f32) ==
      "chunk_sum: x is f32 (2, 3) on cpu and width 4; the last axis must hold at least one chunk of at least one element");
  CHECK(error({2, 3}, 0, DType::f32).find("width 0") != std::string::npos);
  CHECK(error({}, 1, DType::f32).find("the last axis") != std::string::npos);
  CHECK(error({2, 3}, 3, DType::i32) ==
        "chunk_sum: x is i32 (2, 3) on cpu; its dtype must be f32 or f64 on the CPU");
}

}  // namespace
}  // namespace tandem::testing
