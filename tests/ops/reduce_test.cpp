// reduce: cases, exactness of long sums, errors.
#include "tandem/ops/reduce.h"

#include <doctest/doctest.h>

#include "tandem/core/dispatch.h"
#include "tandem/ops/reference/reduce.h"
#include "tests/support/devices.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(reduce) {
  add_unary_signature("reduce", "sum", [](const Tensor& x, const Numbers&) { return sum(x); }, {});
  add_unary_signature("reduce", "sum",
                      [](const Tensor& x, const Numbers& n) { return sum(x, static_cast<int>(n[0])); },
                      {{"axis", -1, {-3, -2, 0, 1, 2, 1e6}}});
  add_unary_signature("reduce", "mean", [](const Tensor& x, const Numbers&) { return mean(x); }, {});
  add_unary_signature("reduce", "mean",
                      [](const Tensor& x, const Numbers& n) { return mean(x, static_cast<int>(n[0])); },
                      {{"axis", -1, {-3, -2, 0, 1, 2, 1e6}}});
}

OP_CASES(reduce) {
  for (const Shape& shape : {Shape{}, Shape{1}, Shape{33}, Shape{65, 3}, Shape{3, 1000}, Shape{40000},
                             Shape{300, 40}, Shape{5, 90, 130}}) {
    const auto inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
      return {random_tensor(shape, dtype, seed, 0, 1)};
    };
    add_op_case({.op = "reduce",
                 .name = "all of " + shape.str(),
                 .inputs = inputs,
                 .run = [](const Tensors& x) -> Tensors {
                   return {sum(x[0]), mean(x[0])};
                 },
                 .reference = [](const Tensors& x) -> Tensors {
                   const double total = reference::sum(x[0]);
                   return {full({}, total, DType::f64),
                           full({}, total / static_cast<double>(x[0].numel()), DType::f64)};
                 }});
    for (int axis = 0; axis < shape.rank(); ++axis)
      add_op_case({.op = "reduce",
                   .name = "axis " + std::to_string(axis) + " of " + shape.str(),
                   .inputs = inputs,
                   .run = [axis](const Tensors& x) -> Tensors {
                     return {sum(x[0], axis), mean(x[0], axis - x[0].rank())};
                   },
                   .reference = [axis](const Tensors& x) -> Tensors {
                     return {reference::sum_axis(x[0], axis, 1),
                             reference::sum_axis(x[0], axis, 1 / static_cast<double>(x[0].size(axis)))};
                   }});
  }
}

TEST_CASE("reduce: shapes of the results, empty axes") {
  for (const Device device : test_devices()) {
    const Tensor x = zeros({2, 3, 4}, DType::f32, device);
    CHECK(sum(x).shape() == Shape{});
    CHECK(sum(x, 0).shape() == Shape{3, 4});
    CHECK(mean(x, 1).shape() == Shape{2, 4});
    CHECK(mean(x, -1).shape() == Shape{2, 3});
    CHECK(sum(zeros({0, 3}, DType::f32, device), 0).to_vector<float>() == std::vector<float>{0, 0, 0});
    CHECK(sum(zeros({3, 0}, DType::f32, device), 1).to_vector<float>() == std::vector<float>{0, 0, 0});
    CHECK(sum(zeros({3, 0}, DType::f32, device), 0).numel() == 0);
    CHECK(sum(zeros({0}, DType::f32, device)).item() == 0);
  }
}

TEST_CASE("reduce: a long sum in f32 is exact") {
  // In f32, 1 + 1 + ... stops growing at 2^24.
  const int64_t n = (1 << 24) + 12345;
  for (const Device device : test_devices()) {
    CHECK(sum(full({n}, 1, DType::f32, device)).item() == 16789560);  // the nearest f32 to n
    CHECK(mean(full({n}, 0.1, DType::f32, device)).item() == doctest::Approx(0.1f).epsilon(1e-7));
    CHECK(mean(full({1 << 24, 1}, 0.1, DType::f32, device), 0).to_vector<float>()[0] == 0.1f);
    CHECK(mean(full({1 << 20, 2}, 0.1, DType::f32, device), 0).to_vector<float>()[1] == 0.1f);
  }
}

TEST_CASE("reduce: columns of bf16 are added to an f32 gradient") {
  if (!has_cuda()) {
    MESSAGE("skipped: no GPU (", cuda_status().text, ")");
    return;
  }
  for (const int64_t width : {1, 40, 33}) {
    const Tensor x = random_tensor({300, width}, DType::f32, 1).to(DType::bf16);
    const Tensor y = full({width}, 3, DType::f32, Device::cuda());
    if constexpr (kWithCuda) cuda::sum_axis(y, x.to(Device::cuda()), {1, 300, width}, 2, true);
    Tensor expected = reference::sum_axis(x.to(DType::f64), 0, 2);
    for (double& value : expected.span<double>()) value += 3;
    CHECK(relative_error(y.to(Device::cpu()), expected) < 1e-6);
  }
}

TEST_CASE("reduce: errors") {
  CHECK_THROWS_WITH_AS(mean(zeros({0, 3}, DType::f32)), "mean: x is f32 (0, 3) on cpu, which has no elements",
                       Error);
  CHECK_THROWS_WITH_AS(mean(zeros({3, 0}, DType::f32), -1),
                       "mean: x is f32 (3, 0) on cpu, whose axis -1 has no elements", Error);
  CHECK_THROWS_WITH_AS(sum(zeros({3, 2}, DType::f32), 2),
                       "sum: x is f32 (3, 2) on cpu; it has no axis 2, its axes are -2 to 1", Error);
  CHECK_THROWS_WITH_AS(sum(zeros({3}, DType::u8)),
                       "sum: x is u8 (3) on cpu; its dtype must be f32 or f64 on the CPU", Error);
}

}  // namespace
}  // namespace tandem::testing
