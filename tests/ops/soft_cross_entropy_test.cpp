// soft_cross_entropy: cases, the ends of its weight, a teacher that is the student, the factor T^2, large logits, errors.
#include "tandem/ops/soft_cross_entropy.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>
#include <tuple>

#include "tandem/autograd/tape.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/reference/soft_cross_entropy.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

// Returns logits of a teacher that are exact in every dtype, so that bf16 sees the values of f64.
Tensor teacher_like(const Tensor& logits) {
  const Tensor values =
      tensor_from(logits.shape(), [](int64_t i) { return static_cast<double>(i * 37 % 97 - 48) / 16; });
  return values.to(logits.dtype()).to(logits.device());
}

Tensor shares_for(const Tensor& targets) {
  return tensor_from(targets.shape(), [](int64_t i) { return static_cast<double>(i % 3) / 4; });
}

SIGNATURES(soft_cross_entropy) {
  add_signature({.op = "soft_cross_entropy",
                 .function = "soft_cross_entropy",
                 .sizes = {3, 2, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"logits", {n[0], n[1], n[2]}},
                           {"targets", {n[0], n[1]}, DType::i32},
                           {"teacher", {n[0], n[1], n[2]}}};
                 },
                 .call = [](const Tensors& x, const Numbers& n) -> Tensors {
                   const SoftCrossEntropy y =
                       soft_cross_entropy(x[0], x[1], x[2], {.weight = n[0], .temperature = n[1]});
                   return {y.loss, y.nll};
                 },
                 .numbers = {{"weight", 0.5, {0, 1, -0.1, 1.1, NAN, INFINITY}},
                             {"temperature", 2, {1, 0, -1, NAN, INFINITY, 1e-3, 1e9}}}});
  add_signature({.op = "soft_cross_entropy",
                 .function = "soft_cross_entropy_tail",
                 .sizes = {3, 2, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"logits", {n[0], n[1], n[2]}},
                           {"targets", {n[0], n[1]}, DType::i32},
                           {"teacher", {n[0], n[1], n[2]}},
                           {"shares", {n[0], n[1]}, DType::f64}};
                 },
                 .call = [](const Tensors& x, const Numbers& n) -> Tensors {
                   const SoftCrossEntropy y =
                       soft_cross_entropy_tail(x[0], x[1], x[2], x[3], {.weight = n[0], .temperature = n[1]});
                   return {y.loss, y.nll};
                 },
                 .numbers = {{"weight", 0.5, {0, 1, -0.1, 1.1, NAN, INFINITY}},
                             {"temperature", 2, {1, 0, -1, NAN, INFINITY, 1e-3, 1e9}}}});
}

OP_CASES(soft_cross_entropy) {
  // The long rows are for the GPU, where the length decides how many threads share a row.
  for (const auto& [leading, vocabulary, weight, temperature] : {std::tuple{Shape{1}, 1, 0.5, 2.0},
                                                                 {Shape{}, 3, 1.0, 1.0},
                                                                 {Shape{3}, 33, 0.3, 0.5},
                                                                 {Shape{33, 3}, 65, 0.0, 3.0},
                                                                 {Shape{65, 6}, 205, 0.7, 2.0},
                                                                 {Shape{2}, 1000, 1.0, 4.0},
                                                                 {Shape{3}, 2051, 0.5, 1.0},
                                                                 {Shape{2}, 8208, 0.9, 2.0},
                                                                 {Shape{2}, 9001, 0.5, 2.0}}) {
    std::vector<int64_t> sizes(leading.begin(), leading.end());
    sizes.push_back(vocabulary);
    const Shape shape{std::span<const int64_t>(sizes)};
    const SoftTargetOptions mix{weight, temperature};
    add_op_case(
        {.op = "soft_cross_entropy",
         .name = fmt::format("logits {}, weight {}, temperature {}", shape.str(), weight, temperature),
         .inputs = [leading = leading, vocabulary = vocabulary, shape](DType dtype,
                                                                       uint64_t seed) -> Tensors {
           return {random_tensor(shape, dtype, seed, -3, 3), random_ids(leading, vocabulary, seed)};
         },
         .run = [mix](const Tensors& x) -> Tensors {
           return {soft_cross_entropy(x[0], x[1], teacher_like(x[0]), mix).loss};
         },
         .reference = [mix](const Tensors& x) -> Tensors {
           return {full(
               {}, reference::soft_cross_entropy(x[0], x[1], teacher_like(x[0]), mix.weight, mix.temperature),
               DType::f64)};
         }});
  }
  for (const Shape& shape : {Shape{5, 33}, Shape{3, 8208}}) {
    const SoftTargetOptions mix{0.4, 2};
    add_op_case({.op = "soft_cross_entropy",
                 .name = "tail, logits " + shape.str(),
                 .inputs = [shape](DType dtype, uint64_t seed) -> Tensors {
                   const Tensor targets = random_ids({shape[0]}, shape[1], seed);
                   targets.data<int32_t>()[1] = -1;
                   return {random_tensor(shape, dtype, seed, -3, 3), targets};
                 },
                 .run = [mix](const Tensors& x) -> Tensors {
                   return {soft_cross_entropy_tail(x[0], x[1], teacher_like(x[0]),
                                                   shares_for(x[1]).to(x[1].device()), mix)
                               .loss};
                 },
                 .reference = [mix](const Tensors& x) -> Tensors {
                   return {full({},
                                reference::soft_cross_entropy(x[0], x[1], teacher_like(x[0]), mix.weight,
                                                              mix.temperature, shares_for(x[1])),
                                DType::f64)};
                 }});
  }
}

struct Outcome {
  double loss, nll;
  Tensor gradient;  // f64 on the CPU
};

Outcome outcome(const Tensor& logits, const Tensor& targets, const Tensor& teacher,
                const SoftTargetOptions& mix) {
  const Tensor leaf = requires_grad(logits.clone());
  Tape tape;
  const SoftCrossEntropy y = soft_cross_entropy(leaf, targets, teacher, mix);
  tape.backward(y.loss);
  return {y.loss.item(), y.nll.item(), grad(leaf).to(Device::cpu()).to(DType::f64)};
}

double largest(const Tensor& x) {
  return relative_error(x, zeros(x.shape(), DType::f64));
}

TEST_CASE("soft_cross_entropy: with a weight of 0 it is cross_entropy, and its nll always is") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32}) {
      const double tolerance = dtype == DType::f64 ? 1e-14 : 1e-6;
      const Tensor logits = random_tensor({7, 40}, dtype, 1, -3, 3).to(device);
      const Tensor targets = random_ids({7}, 40, 2).to(device);
      const Tensor leaf = requires_grad(logits.clone());
      Tape tape;
      const Tensor expected = cross_entropy(leaf, targets);
      tape.backward(expected);
      const Outcome alone = outcome(logits, targets, teacher_like(logits), {.weight = 0, .temperature = 3});
      CHECK(std::abs(alone.loss / expected.item() - 1) < tolerance);
      CHECK(relative_error(alone.gradient, grad(leaf).to(Device::cpu()).to(DType::f64)) < tolerance);
      const Outcome mixed = outcome(logits, targets, teacher_like(logits), {.weight = 0.6, .temperature = 3});
      CHECK(std::abs(mixed.nll / expected.item() - 1) < tolerance);
      CHECK(mixed.loss != mixed.nll);
    }
}

TEST_CASE("soft_cross_entropy: a teacher with the student's logits teaches nothing, at any temperature") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32})
      for (const double temperature : {0.5, 1.0, 4.0}) {
        const Tensor logits = random_tensor({9, 205}, dtype, 1, -8, 8).to(device);
        const Tensor targets = random_ids({9}, 205, 2).to(device);
        const Outcome same = outcome(logits, targets, logits, {.weight = 1, .temperature = temperature});
        CHECK(std::abs(same.loss) < 1e-6);
        const Outcome other = outcome(logits, targets, scale(logits, 0.5), {1, temperature});
        CHECK(other.loss > 1e-3);
        CHECK(largest(same.gradient) < 1e-6 * largest(other.gradient));
      }
}

// Section 2.1 of the paper: for logits of mean 0 and a high temperature the gradient tends to (x - z) / V, whatever T is.
TEST_CASE("soft_cross_entropy: at high temperatures it compares logits, and T^2 keeps its gradient") {
  Tensor logits = tensor_of<double>({1, 4}, {1, -2, 0.5, 0.5});
  const Tensor teacher = tensor_of<double>({1, 4}, {-1, 1, 2, -2}), targets = zeros({1}, DType::i32);
  const Tensor expected = scale(logits - teacher, 0.25);
  for (const double temperature : {1e3, 1e4})
    CHECK(relative_error(outcome(logits, targets, teacher, {1, temperature}).gradient, expected) < 5e-3);
}

TEST_CASE("soft_cross_entropy: an offset of either logits changes nothing, and -infinity is no token") {
  for (const Device device : test_devices()) {
    const auto whole = [device](double offset, int64_t step) {
      const Tensor x = tensor_from(
          {9, 40}, [offset, step](int64_t i) { return offset + static_cast<double>(i * step % 7); });
      return x.to(DType::f32).to(device);
    };
    const Tensor targets = random_ids({9}, 40, 3).to(device);
    const Outcome expected = outcome(whole(0, 3), targets, whole(0, 5), {0.5, 2});
    for (const double offset : {1e3, -1e6, 1e6}) {
      const Outcome moved = outcome(whole(offset, 3), targets, whole(-offset, 5), {0.5, 2});
      CHECK(std::abs(moved.loss / expected.loss - 1) < 1e-6);
      CHECK(relative_error(moved.gradient, expected.gradient) < 1e-6);
    }
    const float inf = INFINITY;
    const Tensor x = tensor_of<float>({2, 3}, {1, -inf, 2, 1, 0, 2}).to(device);
    const Tensor z = tensor_of<float>({2, 3}, {2, -inf, 1, 2, 0, -inf}).to(device);
    const Outcome masked = outcome(x, tensor_of<int32_t>({2}, {0, 1}).to(device), z, {0.5, 1});
    CHECK(std::isfinite(masked.loss));
    for (const double value : masked.gradient.to_vector<double>()) CHECK(std::isfinite(value));
    CHECK(masked.gradient.to_vector<double>()[1] == 0);
  }
}

TEST_CASE(
    "soft_cross_entropy: on a GPU bf16 logits have f32 losses, and a target outside them makes both NaN") {
  if (!has_cuda()) return;
  const Tensor logits = random_tensor({4, 5}, DType::bf16, 1).to(Device::cuda());
  const Tensor targets = tensor_of<int32_t>({4}, {0, 5, 1, 4}).to(Device::cuda());
  const SoftCrossEntropy y = soft_cross_entropy(logits, targets, teacher_like(logits), {});
  CHECK(y.loss.dtype() == DType::f32);
  CHECK(std::isnan(y.loss.item()));
  CHECK(std::isnan(y.nll.item()));
}

TEST_CASE("soft_cross_entropy: errors") {
  const Tensor logits = zeros({2, 3, 5}, DType::f32), targets = zeros({2, 3}, DType::i32);
  CHECK_THROWS_WITH_AS(
      soft_cross_entropy(logits, targets, zeros({2, 3, 6}, DType::f32)),
      "soft_cross_entropy: logits are f32 (2, 3, 5) on cpu, teacher f32 (2, 3, 6) on cpu; both must "
      "have one shape, dtype and device",
      Error);
  CHECK_THROWS_WITH_AS(
      soft_cross_entropy(logits, full({2, 3}, 5, DType::i32), logits),
      "soft_cross_entropy: targets: 5 at position (0, 0) of (2, 3) is outside 0..4; does the "
      "vocabulary fit the model?",
      Error);
  CHECK_THROWS_WITH_AS(soft_cross_entropy(logits, targets, logits, {.weight = 1.5}),
                       "soft_cross_entropy: weight 1.5 must be in [0, 1]", Error);
  CHECK_THROWS_WITH_AS(soft_cross_entropy(logits, targets, logits, {.temperature = 0}),
                       "soft_cross_entropy: temperature 0 must be positive and finite", Error);
}

}  // namespace
}  // namespace tandem::testing
