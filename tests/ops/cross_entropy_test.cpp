// cross_entropy: cases, golden numbers, in place equal to not in place, large logits, errors.
#include "tandem/ops/cross_entropy.h"

#include <doctest/doctest.h>

#include <cmath>
#include <functional>
#include <utility>

#include "tandem/autograd/tape.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/reference/cross_entropy.h"
#include "tandem/ops/reference/reduce.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

SIGNATURES(cross_entropy) {
  add_signature(
      {.op = "cross_entropy",
       .function = "cross_entropy",
       .sizes = {3, 2, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"logits", {n[0], n[1], n[2]}}, {"targets", {n[0], n[1]}, DType::i32}};
       },
       .call = [](const Tensors& x, const Numbers&) -> Tensors { return {cross_entropy(x[0], x[1])}; }});
  add_signature(
      {.op = "cross_entropy",
       .function = "token_nll",
       .sizes = {3, 2, 5},
       .tensors = [](const Sizes& n) -> TensorArguments {
         return {{"logits", {n[0], n[1], n[2]}}, {"targets", {n[0], n[1]}, DType::i32}};
       },
       .call = [](const Tensors& x, const Numbers&) -> Tensors { return {token_nll(x[0], x[1])}; }});
  add_signature({.op = "cross_entropy",
                 .function = "cross_entropy_in_place",
                 .sizes = {3, 2, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"logits", {n[0], n[1], n[2]}}, {"targets", {n[0], n[1]}, DType::i32}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {cross_entropy_in_place(
                       x[0].defined() && is_floating(x[0].dtype()) ? x[0].clone() : x[0], x[1])};
                 }});
}

OP_CASES(cross_entropy) {
  for (const auto& [leading, vocabulary] : {std::pair{Shape{1}, 1},
                                            {Shape{}, 3},
                                            {Shape{3}, 33},
                                            {Shape{33, 3}, 65},
                                            {Shape{65, 6}, 205},
                                            {Shape{2}, 1000},
                                            {Shape{3}, 2051},
                                            {Shape{2}, 8208}}) {
    std::vector<int64_t> sizes(leading.begin(), leading.end());
    sizes.push_back(vocabulary);
    const Shape shape{std::span<const int64_t>(sizes)};
    add_op_case({.op = "cross_entropy",
                 .name = "logits " + shape.str(),
                 .inputs = [leading = leading, vocabulary = vocabulary, shape](DType dtype,
                                                                               uint64_t seed) -> Tensors {
                   return {random_tensor(shape, dtype, seed, -3, 3), random_ids(leading, vocabulary, seed)};
                 },
                 .run = [](const Tensors& x) -> Tensors {
                   return {cross_entropy(x[0], x[1]), cross_entropy_in_place(scale(x[0], 1), x[1]),
                           token_nll(x[0], x[1])};
                 },
                 .reference = [](const Tensors& x) -> Tensors {
                   const Tensor nll = reference::token_nll(x[0], x[1]);
                   const Tensor mean =
                       full({}, reference::sum(nll) / static_cast<double>(nll.numel()), DType::f64);
                   return {mean, mean, nll};
                 }});
  }
}

TEST_CASE("cross_entropy: the golden numbers") {
  const Tensor targets = golden("ops/inputs", "cross_entropy.target");
  for (const DType dtype : {DType::f64, DType::f32}) {
    const double tolerance = dtype == DType::f64 ? 1e-9 : 1e-6;
    const Tensor values = golden("ops/inputs", "cross_entropy.logits").to(dtype);
    CHECK(relative_error(token_nll(values, targets), golden("ops/outputs", "cross_entropy.nll")) <=
          tolerance);
    for (const auto loss_of : {cross_entropy, cross_entropy_in_place}) {
      const Tensor logits = requires_grad(values.clone());
      Tape tape;
      const Tensor loss = loss_of(scale(logits, 1), targets);
      tape.backward(loss);
      CHECK(std::abs(loss.item() / 8.107780055210322 - 1) <= tolerance);
      CHECK(relative_error(grad(logits), golden("ops/grads", "cross_entropy.logits")) <= tolerance);
    }
  }
  const Tensor nll = Tensor(targets.shape(), DType::f64), lse = Tensor(targets.shape(), DType::f64);
  cpu::token_nll_forward(nll, lse, golden("ops/inputs", "cross_entropy.logits"), targets);
  CHECK(relative_error(lse, golden("ops/outputs", "cross_entropy.logsumexp")) <= 1e-12);
}

TEST_CASE("cross_entropy: in place, the logits become their gradient while a tape records, and only then") {
  for (const Device device : test_devices()) {
    for (const int64_t vocabulary : {7, 16}) {
      const Tensor targets = random_ids({5}, 7, 3).to(device);
      const Tensor values = random_tensor({5, vocabulary}, DType::f64, 4).to(device);
      const Tensor constant = values.clone();
      cross_entropy_in_place(constant, targets);
      CHECK(relative_error(constant, values) == 0);

      const Tensor leaf = requires_grad(values.clone());
      Tape tape;
      {
        const NoGrad pause;
        const Tensor logits = scale(leaf, 1);
        cross_entropy_in_place(logits, targets);
        CHECK(relative_error(logits, values) == 0);
      }
      const Tensor logits = scale(leaf, 1);
      const Tensor loss = cross_entropy_in_place(logits, targets);
      tape.backward(loss * -3.0);  // the gradient of the loss is not 1
      const Tensor expected = requires_grad(values.clone());
      Tape again;
      again.backward(cross_entropy(expected, targets) * -3.0);
      CHECK(relative_error(logits, grad(expected)) < 1e-14);
      CHECK(relative_error(grad(leaf), grad(expected)) < 1e-14);
    }
  }
}

TEST_CASE("cross_entropy: on a GPU bf16 logits have an f32 loss") {
  if (!has_cuda()) return;
  const Tensor targets = random_ids({50}, 99, 3);
  const Tensor values = random_tensor({50, 99}, DType::bf16, 4, -3, 3);
  const Tensor exact = requires_grad(values.to(DType::f64));
  Tape tape;
  const Tensor expected = cross_entropy(exact, targets);
  tape.backward(expected * 2.0);
  for (const auto loss_of : {cross_entropy, cross_entropy_in_place}) {
    const Tensor leaf = requires_grad(values.to(Device::cuda()));
    Tape again;
    const Tensor loss = loss_of(scale(leaf, 1), targets.to(Device::cuda()));
    CHECK(loss.dtype() == DType::f32);
    CHECK(std::abs(loss.item() / expected.item() - 1) < 1e-6);
    again.backward(loss * 2.0);
    CHECK(grad(leaf).dtype() == DType::bf16);
    CHECK(relative_error(grad(leaf), grad(exact)) < 1e-2);
  }
  const Tensor nll = token_nll(values.to(Device::cuda()), targets.to(Device::cuda()));
  CHECK(nll.dtype() == DType::f32);
  CHECK(relative_error(nll, token_nll(values.to(DType::f64), targets)) < 1e-6);
}

TEST_CASE("cross_entropy: on a GPU a target outside the logits makes its loss NaN") {
  if (!has_cuda()) return;
  const Tensor logits = requires_grad(random_tensor({4, 5}, DType::f32, 1).to(Device::cuda()));
  const Tensor targets = tensor_of<int32_t>({4}, {0, 5, -1, 4}).to(Device::cuda());
  const std::vector<float> nll = token_nll(logits, targets).to_vector<float>();
  for (int i = 0; i < 4; ++i) CHECK(std::isnan(nll[i]) == (i == 1 || i == 2));
  Tape tape;
  const Tensor loss = cross_entropy_in_place(scale(logits, 1), targets);
  CHECK(std::isnan(loss.item()));
  tape.backward(loss);
}

TEST_CASE("cross_entropy: in place, a second use of the logits' gradient adds up") {
  const Tensor targets = random_ids({4}, 6, 3);
  const Tensor leaf = requires_grad(random_tensor({4, 6}, DType::f64, 4));
  Tape tape;
  const Tensor logits = scale(leaf, 1);
  const Tensor other = sum(logits);
  tape.backward(cross_entropy_in_place(logits, targets) + other);
  const Tensor expected = requires_grad(leaf.clone());
  Tape again;
  again.backward(cross_entropy(expected, targets) + sum(expected));
  CHECK(relative_error(grad(leaf), grad(expected)) < 1e-14);
}

TEST_CASE("cross_entropy: logits too large for exp, and some that are minus infinity") {
  for (const Device device : test_devices()) {
    const Tensor x = tensor_of<float>({4, 2}, {1e4f, 0, -1e4f, -1e4f, -INFINITY, 3, NAN, 0}).to(device);
    const std::vector<float> nll =
        token_nll(x, tensor_of<int32_t>({4}, {1, 0, 1, 1}).to(device)).to_vector<float>();
    CHECK(nll[0] == 1e4f);
    CHECK(nll[1] == doctest::Approx(std::log(2.0)));
    CHECK(nll[2] == 0);
    CHECK(std::isnan(nll[3]));
  }
}

TEST_CASE("cross_entropy: an offset of all logits changes no gradient, however large") {
  const Tensor targets = random_ids({9}, 40, 3);
  const auto gradient = [&targets](double offset, DType dtype, Device device, const auto& loss_of) {
    Tensor logits({9, 40}, DType::f64);
    for (int64_t i = 0; i < logits.numel(); ++i)  // whole numbers, so that the sum is exact in f32
      logits.data<double>()[i] = offset + static_cast<double>(i * i % 7);
    const Tensor x = requires_grad(logits.to(dtype).to(device));
    Tape tape;
    tape.backward(loss_of(x, targets.to(device)));
    return grad(x).to(Device::cpu()).to(DType::f64);
  };
  const auto in_place = [](const Tensor& x, const Tensor& t) {
    return cross_entropy_in_place(scale(x, 1), t);
  };
  const auto by_token = [](const Tensor& x, const Tensor& t) { return mean(token_nll(x, t)); };
  for (const Device device : test_devices()) {
    const Tensor expected = gradient(0, DType::f64, Device::cpu(), cross_entropy);
    for (const double offset : {0.0, 1e3, -1e6, 1e6, 1e7, 1.6e7}) {
      CAPTURE(offset);
      CHECK(relative_error(gradient(offset, DType::f32, device, cross_entropy), expected) < 1e-6);
      CHECK(relative_error(gradient(offset, DType::f32, device, by_token), expected) < 1e-6);
      CHECK(relative_error(gradient(offset, DType::f32, device, in_place), expected) < 1e-6);
    }
  }
}

TEST_CASE("cross_entropy: in place, a view of a leaf is refused as the leaf is, and keeps its values") {
  const Tensor targets = zeros({2}, DType::i32);
  const Tensor leaf = requires_grad(full({3, 2, 5}, 0.5, DType::f32));
  const std::pair<const char*, std::function<Tensor()>> views[] = {
      {"slice",
       [&leaf] {
         return reshape(slice(leaf, 1, 2), {2, 5});
       }},
      {"reshape",
       [&leaf] {
         return slice(reshape(leaf, {6, 5}), 0, 2);
       }},
      {"split",
       [&leaf] {
         return split(reshape(leaf, {6, 5}), {2, 4})[0];
       }},
      {"clone of a view in another place", [&leaf] {
         return dropout(slice(reshape(leaf, {6, 5}), 0, 2), 0, {});
       }}};
  for (const auto& entry : views) {
    const std::string name = entry.first;
    CAPTURE(name);
    Tape tape;
    const Tensor logits = entry.second();
    CHECK(
        contains(error_of([&] { cross_entropy_in_place(logits, targets); }), "are a leaf or a view of one"));
    CHECK(leaf.to_vector<float>() == std::vector<float>(30, 0.5f));
  }
  Tape tape;
  cross_entropy_in_place(slice(leaf, 0, 1).clone().view_as({2, 5}),
                         targets);  // without history: nothing is overwritten
  tape.backward(cross_entropy_in_place(reshape(slice(leaf, 0, 1).clone(), {2, 5}), targets));
  CHECK(leaf.to_vector<float>() == std::vector<float>(30, 0.5f));
  CHECK(grad(leaf).to_vector<float>()[1] == doctest::Approx(0.1));
}

TEST_CASE("cross_entropy: the mean of many small losses keeps its digits in f32") {
  const int64_t n = 1 << 20;
  const Tensor x = full({n, 2}, 0, DType::f32);
  CHECK(cross_entropy(x, zeros({n}, DType::i32)).item() == static_cast<float>(std::log(2.0)));
}

TEST_CASE("cross_entropy: errors") {
  const Tensor logits = zeros({2, 3, 5}, DType::f32);
  CHECK_THROWS_WITH_AS(
      cross_entropy(logits, zeros({6}, DType::i32)),
      "cross_entropy: logits are f32 (2, 3, 5) on cpu, targets i32 (6) on cpu; targets must have the "
      "logits' leading sizes (2, 3) and device",
      Error);
  CHECK_THROWS_WITH_AS(token_nll(logits, full({2, 3}, 5, DType::i32)),
                       "token_nll: targets: 5 at position (0, 0) of (2, 3) is outside 0..4; does the "
                       "vocabulary fit the model?",
                       Error);
  CHECK_THROWS_WITH_AS(cross_entropy(logits, zeros({2, 3}, DType::i64)),
                       "cross_entropy: targets are i64 (2, 3) on cpu; they must be i32", Error);
  CHECK_THROWS_WITH_AS(cross_entropy(zeros({0, 5}, DType::f32), zeros({0}, DType::i32)),
                       "cross_entropy: targets are i32 (0) on cpu: the mean over no tokens", Error);
  CHECK_THROWS_WITH_AS(cross_entropy(zeros({}, DType::f32), zeros({}, DType::i32)),
                       "cross_entropy: logits are f32 () on cpu; they must be floating (..., V)", Error);
  Tape tape;
  CHECK_THROWS_WITH_AS(
      cross_entropy_in_place(requires_grad(logits), zeros({2, 3}, DType::i32)),
      "cross_entropy_in_place: the logits f32 (2, 3, 5) on cpu are a leaf or a view of one (reshape, slice), whose values "
      "would be lost; use cross_entropy",
      Error);
}

}  // namespace
}  // namespace tandem::testing
