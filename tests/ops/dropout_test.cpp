// dropout: cases, masks that depend on key and index alone, rates, errors.
#include "tandem/ops/dropout.h"

#include <doctest/doctest.h>

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/ops/reference/dropout.h"
#include "tests/support/devices.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

constexpr DropoutKey kKey{99, 7, 3};

double mask_at(int64_t i, double p) {
  return reference::dropout_factor(i, p, kKey);
}

SIGNATURES(dropout) {
  add_unary_signature("dropout", "dropout",
                      [](const Tensor& x, const Numbers& n) { return dropout(x, n[0], {}); },
                      {{"p", 0.5, {-1, 0, 1, 2, NAN}}});
  add_unary_signature("dropout", "variational_dropout",
                      [](const Tensor& x, const Numbers& n) { return variational_dropout(x, n[0], {}); },
                      {{"p", 0.5, {-1, 0, 1, 2, NAN}}});
  add_signature({.op = "dropout",
                 .function = "dropout_mask",
                 .call = [](const Tensors&, const Numbers& n) -> Tensors {
                   return {dropout_mask({2, 3}, n[0], static_cast<DType>(n[1]), Device::cpu(), {})};
                 },
                 .numbers = {{"p", 0.5, {-1, 0, 1, 2, NAN}}, {"dtype", 0, {1, 2, 3, 5}}}});
}

OP_CASES(dropout) {
  for (const Shape& shape : {Shape{1, 1}, Shape{3, 33}, Shape{65, 3, 5}, Shape{3, 70, 401}})
    for (const double p : {0.1, 0.5})
      add_op_case({.op = "dropout",
                   .name = "p = " + std::to_string(p) + ", " + shape.str(),
                   .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
                     return {random_tensor(shape, dtype, seed)};
                   },
                   .run = [p](const Tensors& x) -> Tensors {
                     return {dropout(x[0], p, kKey), variational_dropout(x[0], p, kKey)};
                   },
                   .reference = [p](const Tensors& x) -> Tensors {
                     const int64_t period = x[0].numel() / x[0].size(0);
                     return {reference::dropout(x[0], x[0].numel(), p, kKey),
                             reference::dropout(x[0], period, p, kKey)};
                   }});
}

TEST_CASE("dropout: dropout_mask is the mask of dropout, on any device, in any dtype and any piece of it") {
  const Shape shape{37, 111};
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      if (dtype == DType::bf16 && device.is_cpu()) continue;
      const Tensor mask = dropout_mask(shape, 0.3, dtype, device, kKey);
      const Tensor y = dropout(full(shape, 1, dtype, device), 0.3, kKey);
      CHECK(relative_error(mask, y) == 0);
      const double tolerance = dtype == DType::bf16 ? 4e-3 : 1e-7;
      CHECK(relative_error(mask, tensor_from(shape, [](int64_t i) { return mask_at(i, 0.3); })) < tolerance);
      // The elements of a view that begins within a vector are counted from its own first one.
      const Tensor rows = full(shape, 1, dtype, device).view_rows(1, 37);
      CHECK(relative_error(dropout(rows, 0.3, kKey), mask.view_rows(0, 36)) == 0);
      CHECK(dropout(zeros({0, 3}, dtype, device), 0.3, kKey).numel() == 0);
      CHECK(variational_dropout(zeros({3, 0}, dtype, device), 0.3, kKey).numel() == 0);
    }
  const std::vector<float> whole =
      dropout_mask(shape, 0.3, DType::f32, Device::cpu(), kKey).to_vector<float>();
  for (const int64_t begin : {0, 1, 2, 3, 5, 1022}) {
    for (const int64_t n : {1, 2, 7, 1024, 1025, 2100}) {
      std::vector<float> piece(n, -1);
      cpu::dropout_mask_row(piece.data(), begin, n, 0.3, kKey);
      CHECK(std::equal(piece.begin(), piece.end(), whole.begin() + begin));
    }
  }
}

TEST_CASE("dropout: different keys give independent masks, and the rate is p") {
  const Shape shape{1000, 200};
  const auto mask = [shape](double p, DropoutKey key) {
    return dropout_mask(shape, p, DType::f32, Device::cpu(), key).to_vector<float>();
  };
  const std::vector<float> first = mask(0.25, {1, 2, 3});
  CHECK(mask(0.25, {1, 2, 3}) == first);
  // Masks of different seeds, steps and sites agree only by chance, where both keep or both drop.
  for (const DropoutKey key :
       {DropoutKey{2, 2, 3}, DropoutKey{1, 3, 3}, DropoutKey{1, 2, 4}, DropoutKey{1ull << 32, 2, 3}}) {
    const std::vector<float> other = mask(0.25, key);
    int64_t same = 0;
    for (size_t i = 0; i < first.size(); ++i) same += first[i] == other[i];
    CHECK(static_cast<double>(same) / 200000 == doctest::Approx(0.75 * 0.75 + 0.25 * 0.25).epsilon(0.01));
  }
  for (const double p : {0.01, 0.25, 0.5, 0.9}) {
    int64_t dropped = 0;
    for (const float m : mask(p, {5, 0, 0})) {
      dropped += m == 0;
      if (m != 0) REQUIRE(m == static_cast<float>(1 / (1 - p)));
    }
    CHECK(std::abs(static_cast<double>(dropped) / 200000 - p) < 5 * std::sqrt(p * (1 - p) / 200000));
  }
}

TEST_CASE("dropout: one mask for many time steps") {
  const int64_t steps = 70001, period = 3;
  for (const Device device : test_devices()) {
    const Tensor y = variational_dropout(full({steps, period}, 1, DType::f32, device), 0.5, kKey);
    const std::vector<float> values = y.to_vector<float>();
    for (int64_t i = 0; i < steps * period; ++i) REQUIRE(values[i] == mask_at(i % period, 0.5));
  }
}

TEST_CASE("dropout: p = 0 returns x itself, and a dropped NaN becomes 0") {
  const Tensor x = full({2, 3}, 1, DType::f32);
  CHECK(dropout(x, 0, kKey).same_as(x));
  CHECK(variational_dropout(x, 0, kKey).same_as(x));
  for (const float m : dropout_mask({5}, 0, DType::f32, Device::cpu(), kKey).to_vector<float>())
    CHECK(m == 1);
  for (const Device device : test_devices()) {
    const std::vector<float> y = dropout(full({1000}, NAN, DType::f32, device), 0.5, kKey).to_vector<float>();
    for (int64_t i = 0; i < 1000; ++i) REQUIRE(std::isnan(y[i]) == (mask_at(i, 0.5) != 0));
  }
}

TEST_CASE("dropout: nothing is saved for backward") {
  const Tensor x = requires_grad(full({1000}, 1, DType::f32));
  Tape tape;
  const Tensor y = dropout(x, 0.5, kKey);
  CHECK(tape.dump().find("0 B") != std::string::npos);
}

TEST_CASE("dropout: errors") {
  const Tensor x = zeros({3}, DType::f32);
  CHECK_THROWS_WITH_AS(dropout(x, 1, kKey), "dropout: p is 1; the probability of dropping must lie in [0, 1)",
                       Error);
  CHECK_THROWS_WITH_AS(dropout(x, NAN, kKey),
                       "dropout: p is nan; the probability of dropping must lie in [0, 1)", Error);
  CHECK_THROWS_WITH_AS(dropout_mask({3}, -0.5, DType::f32, Device::cpu(), kKey),
                       "dropout_mask: p is -0.5; the probability of dropping must lie in [0, 1)", Error);
  CHECK_THROWS_WITH_AS(
      variational_dropout(x, 0.5, kKey),
      "variational_dropout: x is f32 (3) on cpu, without a time axis before others; it must be (T, "
      "...), such as (T, B, D)",
      Error);
}

}  // namespace
}  // namespace tandem::testing
