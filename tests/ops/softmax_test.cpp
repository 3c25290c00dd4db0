// softmax and masked_softmax: cases, golden masks, masked scores are never read, errors.
#include "tandem/ops/softmax.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/softmax.h"
#include "tests/support/devices.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(softmax) {
  add_unary_signature("softmax", "softmax", [](const Tensor& x, const Numbers&) { return softmax(x); }, {});
  add_unary_signature("softmax", "log_softmax",
                      [](const Tensor& x, const Numbers&) { return log_softmax(x); }, {});
  add_signature({.op = "softmax",
                 .function = "masked_softmax",
                 .sizes = {2, 3},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"scores", {n[0], n[1]}}};
                 },
                 .call = [](const Tensors& x, const Numbers& n) -> Tensors {
                   return {masked_softmax(
                       x[0], {.memory = static_cast<int64_t>(n[0]), .window = static_cast<int64_t>(n[1])})};
                 },
                 .numbers = {{"memory", 1, {-1, 0, 2, 1e18}}, {"window", 0, {-1, 1, 2, 1e18}}}});
}

OP_CASES(softmax) {
  // The long rows are for the GPU, where the length decides how many threads share a row.
  for (const Shape& shape :
       {Shape{1}, Shape{3, 33}, Shape{2, 3, 65}, Shape{33, 1}, Shape{400, 99}, Shape{5, 200}, Shape{2, 1000},
        Shape{2, 2040}, Shape{2, 2047}, Shape{2, 4200}, Shape{2, 8193}, Shape{2, 9000}})
    add_op_case({.op = "softmax",
                 .name = "whole rows " + shape.str(),
                 .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed, -4, 4)};
                 },
                 .run = [](const Tensors& x) -> Tensors { return {softmax(x[0])}; },
                 .reference = [](const Tensors& x) -> Tensors { return {reference::softmax(x[0])}; }});
  for (const Shape& shape : {Shape{1}, Shape{3, 33}, Shape{2, 3, 65}, Shape{400, 99}, Shape{2, 1000},
                             Shape{2, 2047}, Shape{2, 9000}})
    add_op_case(
        {.op = "softmax",
         .name = "logarithm " + shape.str(),
         .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
           return {random_tensor(shape, dtype, seed, -4, 4)};
         },
         .run = [](const Tensors& x) -> Tensors { return {log_softmax(x[0])}; },
         .reference = [](const Tensors& x) -> Tensors { return {reference::log_softmax(x[0])}; },
         .gradcheck_tolerance = 1e-5});  // sums of some thousand logarithms lose digits in differences
  for (const auto& [queries, mask] : {std::pair{1, CausalMask{0, 0}},
                                      {1, {3, 0}},
                                      {33, {0, 0}},
                                      {33, {65, 0}},
                                      {33, {65, 66}},
                                      {33, {5, 3}},
                                      {33, {5, 1}},
                                      {65, {33, 200}},
                                      {170, {40, 41}},
                                      {5, {1499, 700}},
                                      {3, {9001, 8300}}})
    add_op_case({.op = "softmax",
                 .name = "masked, T " + std::to_string(queries) + ", M " + std::to_string(mask.memory) +
                         ", window " + std::to_string(mask.window),
                 .inputs = [queries = queries, mask = mask](DType dtype, uint64_t seed) -> Tensors {
                   return {random_tensor({2, queries, mask.memory + queries}, dtype, seed, -4, 4)};
                 },
                 .run = [mask = mask](const Tensors& x) -> Tensors { return {masked_softmax(x[0], mask)}; },
                 .reference = [mask = mask](const Tensors& x) -> Tensors {
                   return {reference::masked_softmax(x[0], mask)};
                 }});
}

TEST_CASE("softmax: the golden masks, forward and backward") {
  const std::pair<const char*, CausalMask> masks[] = {
      {"causal_no_memory", {0, 0}},      {"causal_full_memory", {6, 0}}, {"causal_partial_memory", {3, 0}},
      {"window_M_plus_1", {6, 7}},       {"window_M", {6, 6}},           {"window_M_partial_memory", {3, 6}},
      {"window_shorter_than_T", {6, 3}},
  };
  for (const auto& entry : masks) {
    const CausalMask mask = entry.second;
    const std::string key = std::string("masked_softmax.") + entry.first;
    INFO(key);
    const Tensor blocked = golden("ops/inputs", key + ".blocked");
    for (int64_t row = 0; row < blocked.size(0); ++row)
      for (int64_t j = 0; j < blocked.size(1); ++j)
        REQUIRE((j >= mask.begin(row) && j < mask.end(row)) ==
                (blocked.data<uint8_t>()[row * blocked.size(1) + j] == 0));
    for (const Device device : test_devices())
      for (const DType dtype : {DType::f64, DType::f32}) {
        const Tensor x = requires_grad(golden("ops/inputs", key + ".scores").to(dtype).to(device));
        Tape tape;
        const Tensor y = masked_softmax(x, mask);
        tape.backward({y}, {golden("ops/inputs", key + ".dy").to(dtype).to(device)});
        const double tolerance = dtype == DType::f64 ? 1e-9 : 1e-6;
        CHECK(relative_error(y.to(Device::cpu()), golden("ops/outputs", key + ".y")) <= tolerance);
        CHECK(relative_error(grad(x).to(Device::cpu()), golden("ops/grads", key + ".scores")) <= tolerance);
      }
  }
}

TEST_CASE("softmax: masked scores are never read") {
  const CausalMask mask{2, 3};
  const Tensor x = random_tensor({5, 7}, DType::f32, 1);
  const Tensor expected = masked_softmax(x, mask);
  for (int64_t row = 0; row < 5; ++row)
    for (int64_t key = 0; key < 7; ++key)
      if (key < mask.begin(row) || key >= mask.end(row)) {
        x.data<float>()[row * 7 + key] = NAN;
        CHECK(expected.data<float>()[row * 7 + key] == 0);
      }
  for (const Device device : test_devices())
    CHECK(relative_error(masked_softmax(x.to(device), mask).to(Device::cpu()), expected) < 1e-6);
}

TEST_CASE("softmax: masked weights and gradients are 0 even in a row that is not finite") {
  const CausalMask mask{4, 4};
  for (const Device device : test_devices())
    for (const float bad : {NAN, INFINITY}) {
      const Tensor x = random_tensor({3, 4, 8}, DType::f32, 1), dy = random_tensor({3, 4, 8}, DType::f32, 2);
      x.data<float>()[8 * 1 + 4] = bad;   // row 1 sees 2 .. 5
      dy.data<float>()[8 * 6 + 4] = bad;  // row 2 of the next matrix sees 3 .. 6
      const Tensor leaf = requires_grad(x.to(device));
      Tape tape;
      const Tensor y = masked_softmax(leaf, mask);
      tape.backward({y}, {dy.to(device)});
      const Tensor ys = y.to(Device::cpu()), dx = grad(leaf).to(Device::cpu());
      for (int64_t i = 0; i < x.numel(); ++i) {
        const int64_t row = i / 8 % 4, key = i % 8;
        const bool masked = key < mask.begin(row) || key >= mask.end(row);
        INFO(device.str(), ", ", bad, ", element ", i);
        if (masked) {
          REQUIRE(ys.data<float>()[i] == 0);
          REQUIRE(dx.data<float>()[i] == 0);
        } else {
          REQUIRE(std::isnan(ys.data<float>()[i]) == (i / 8 == 1));
          REQUIRE(std::isfinite(dx.data<float>()[i]) == (i / 8 != 1 && i / 8 != 6));
        }
      }
    }
}

TEST_CASE("softmax: rows that are not aligned to 16 bytes") {
  const Tensor whole = random_tensor({3, 5, 64}, DType::f64, 3, -4, 4);
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (device.is_cpu() && dtype == DType::bf16) continue;
      // 5 rows of 63 elements that begin 3 elements into a tensor: their alignment varies.
      const Tensor rounded = whole.to(dtype);
      const Tensor flat = rounded.view_as({960, 1}).view_rows(3, 3 + 315).view_as({5, 63});
      const Tensor y = softmax(rounded.to(device).view_as({960, 1}).view_rows(3, 3 + 315).view_as({5, 63}));
      CHECK(relative_error(y.to(Device::cpu()), softmax(flat.to(DType::f64))) <
            (dtype == DType::bf16 ? 4e-3 : 1e-6));
      const Tensor even = rounded.view_as({960, 1}).view_rows(1, 1 + 320).view_as({5, 64});
      const Tensor z = softmax(rounded.to(device).view_as({960, 1}).view_rows(1, 1 + 320).view_as({5, 64}));
      CHECK(relative_error(z.to(Device::cpu()), softmax(even.to(DType::f64))) <
            (dtype == DType::bf16 ? 4e-3 : 1e-6));
    }
}

TEST_CASE("softmax: large scores and minus infinity") {
  const float inf = INFINITY;
  for (const Device device : test_devices()) {
    CHECK(softmax(tensor_of<float>({3}, {1e30f, 1e30f, -inf}).to(device)).to_vector<float>() ==
          std::vector<float>{0.5, 0.5, 0});
    CHECK(std::isnan(softmax(tensor_of<float>({2}, {NAN, 1}).to(device)).to_vector<float>()[1]));
    CHECK(std::isnan(softmax(tensor_of<float>({2}, {-inf, -inf}).to(device)).to_vector<float>()[1]));
    CHECK(softmax(zeros({0, 3}, DType::f32, device)).numel() == 0);
  }
}

TEST_CASE("log_softmax: an offset of all elements changes nothing, however large") {
  for (const Device device : test_devices())
    for (const float offset : {0.0f, 1e7f, -1e7f, 1.6e7f}) {
      CAPTURE(offset);
      const Tensor x = requires_grad(tensor_of<float>({3}, {offset + 2, offset, offset + 4}).to(device));
      Tape tape;
      const Tensor y = log_softmax(x);
      const double lse = std::log(std::exp(-2) + std::exp(-4) + 1);
      CHECK(y.to_vector<float>()[0] == doctest::Approx(-2 - lse));
      CHECK(y.to_vector<float>()[2] == doctest::Approx(-lse));
      tape.backward({y}, {tensor_of({3}, {0.0f, 0.0f, -1.0f}).to(device)});
      CHECK(grad(x).to_vector<float>()[1] == doctest::Approx(std::exp(-4 - lse)));
      CHECK(grad(x).to_vector<float>()[2] == doctest::Approx(std::exp(-lse) - 1));
    }
}

TEST_CASE("log_softmax: infinite and missing elements, and errors") {
  const float inf = INFINITY;
  for (const Device device : test_devices()) {
    const auto y = log_softmax(tensor_of({3}, {0.0f, 0.0f, -inf}).to(device)).to_vector<float>();
    CHECK(y[0] == doctest::Approx(-std::log(2)));
    CHECK(y[2] == -inf);
    CHECK(std::isnan(log_softmax(tensor_of({2}, {NAN, 1.0f}).to(device)).to_vector<float>()[1]));
    CHECK(log_softmax(zeros({0, 3}, DType::f32, device)).numel() == 0);
    CHECK(log_softmax(zeros({3, 0}, DType::f32, device)).numel() == 0);
  }
  CHECK_THROWS_WITH_AS(log_softmax(zeros({}, DType::f32)),
                       "log_softmax: x is f32 () on cpu, which has no axis to go over", Error);
}

TEST_CASE("softmax: errors") {
  CHECK_THROWS_WITH_AS(softmax(zeros({}, DType::f32)),
                       "softmax: x is f32 () on cpu, which has no axis to go over", Error);
  CHECK_THROWS_WITH_AS(softmax(zeros({2}, DType::i32)),
                       "softmax: x is i32 (2) on cpu; its dtype must be f32 or f64 on the CPU", Error);
  CHECK_THROWS_WITH_AS(
      masked_softmax(zeros({2, 3, 4}, DType::f32), {2, 0}),
      "masked_softmax: scores are f32 (2, 3, 4) on cpu, with a memory of 2; they must be (..., T, 2 + T)",
      Error);
  CHECK_THROWS_WITH_AS(masked_softmax(zeros({3, 4}, DType::f32), {1, -1}),
                       "masked_softmax: mask.memory 1 and mask.window -1 must not be negative", Error);
}

}  // namespace
}  // namespace tandem::testing
