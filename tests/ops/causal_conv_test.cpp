// causal_conv: cases, golden numbers of PyTorch, segments chained through prefixes, errors.
#include "tandem/ops/causal_conv.h"

#include <doctest/doctest.h>

#include "tandem/autograd/tape.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/reference/causal_conv.h"
#include "tandem/ops/slice.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"
#include "tests/support/run_op_case.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

struct Case {
  int64_t steps, batch, channels, taps;
  bool bias = false, prefix = false;
};

// Calls the operator or its reference with x, weight, and the bias and the prefix if the case has them.
template <class F>
Tensors run(const Case& c, const F& f, const Tensors& in) {
  return {f(in[0], in[1], c.bias ? in[2] : Tensor(), c.prefix ? in.back() : Tensor())};
}

void add(const Case& c) {
  OpCase op_case;
  op_case.op = "causal_conv";
  op_case.name = Shape{c.steps, c.batch, c.channels}.str() + ", " + std::to_string(c.taps) + " taps" +
                 (c.bias ? ", bias" : "") + (c.prefix ? ", prefix" : "");
  op_case.inputs = [c](DType dtype, uint64_t seed) -> Tensors {
    Tensors inputs{random_tensor({c.steps, c.batch, c.channels}, dtype, seed),
                   random_tensor({c.channels, c.taps}, dtype, seed + 1)};
    if (c.bias) inputs.push_back(random_tensor({c.channels}, dtype, seed + 2));
    if (c.prefix) inputs.push_back(random_tensor({c.taps - 1, c.batch, c.channels}, dtype, seed + 3));
    return inputs;
  };
  op_case.run = [c](const Tensors& in) { return run(c, causal_conv, in); };
  op_case.reference = [c](const Tensors& in) { return run(c, reference::causal_conv, in); };
  op_case.weights = {1};
  if (c.bias) op_case.weights.push_back(2);
  add_op_case(op_case);
}

SIGNATURES(causal_conv) {
  add_signature({.op = "causal_conv",
                 .function = "causal_conv",
                 .sizes = {5, 2, 4, 3},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"x", {n[0], n[1], n[2]}},
                           {"weight", {n[2], n[3]}},
                           {"bias", {n[2]}, DType::f32, true},
                           {"prefix", {std::max<int64_t>(0, n[3] - 1), n[1], n[2]}, DType::f32, true}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {causal_conv(x[0], x[1], x[2], x[3])};
                 }});
}

OP_CASES(causal_conv) {
  for (const bool bias : {false, true})
    for (const bool prefix : {false, true}) {
      add({.steps = 1, .batch = 1, .channels = 1, .taps = 1, .bias = bias, .prefix = prefix});
      add({.steps = 5, .batch = 3, .channels = 33, .taps = 3, .bias = bias, .prefix = prefix});
      add({.steps = 3, .batch = 2, .channels = 8, .taps = 11, .bias = bias, .prefix = prefix});  // T < K - 1
      add({.steps = 33, .batch = 1, .channels = 40, .taps = 7, .bias = bias, .prefix = prefix});
    }
  add({.steps = 65, .batch = 3, .channels = 65, .taps = 3, .prefix = true});
  // Sizes of several blocks on a GPU: of channels, of time steps and of rows that are summed apart.
  add({.steps = 70, .batch = 2, .channels = 264, .taps = 4, .bias = true, .prefix = true});
  add({.steps = 33, .batch = 17, .channels = 136, .taps = 3});
}

TEST_CASE("causal_conv: PyTorch's numbers, with zeros and with a prefix before the first step") {
  const auto input = [](const char* name, Device device) {
    return golden("ops/inputs", std::string("causal_conv3.") + name).to(device);
  };
  for (const Device device : test_devices())
    for (const bool with_prefix : {false, true}) {
      const Tensor x = requires_grad(input("x", device)), bias = requires_grad(input("bias", device));
      const Tensor weight = requires_grad(input("weight", device).view_as({10, 3}));
      const Tensor prefix = with_prefix ? requires_grad(input("prefix", device)) : Tensor();
      Tape tape;
      const Tensor y = causal_conv(x, weight, bias, prefix);
      tape.backward({y}, {input("dy", device)});
      const std::string name = with_prefix ? "causal_conv3.with_prefix." : "causal_conv3.zero_prefix.";
      const auto gradient = [&name](const char* of) { return golden("ops/grads", name + of); };
      CHECK(relative_error(y, golden("ops/outputs", name + "y")) < 1e-9);
      CHECK(relative_error(grad(x), gradient("x")) < 1e-9);
      CHECK(relative_error(grad(weight), gradient("weight").view_as({10, 3})) < 1e-9);
      CHECK(relative_error(grad(bias), gradient("bias")) < 1e-9);
      if (with_prefix) CHECK(relative_error(grad(prefix), gradient("prefix")) < 1e-9);
    }
}

TEST_CASE("causal_conv: segments chained through prefixes are one long pass, gradients too") {
  for (const Device device : test_devices()) {
    const Tensor x = random_tensor({9, 2, 24}, DType::f64, 1).to(device);
    const Tensor dy = random_tensor({9, 2, 24}, DType::f64, 2).to(device);
    const Tensor weight = random_tensor({24, 3}, DType::f64, 3).to(device);
    const Tensor whole = requires_grad(x.clone()), parts = requires_grad(x.clone());
    Tape tape;
    const Tensor y = causal_conv(whole, weight);
    tape.backward({y}, {dy});
    Tape second;
    const Tensor a = causal_conv(slice(parts, 0, 4), weight);
    const Tensor b = causal_conv(slice(parts, 4, 9), weight, Tensor(), slice(parts, 2, 4));
    CHECK(relative_error(concat({a, b}), y) < 1e-15);
    second.backward({a, b}, {dy.view_rows(0, 4), dy.view_rows(4, 9)});
    CHECK(relative_error(grad(parts), grad(whole)) < 1e-15);
  }
}

TEST_CASE("causal_conv: no steps, no batch") {
  for (const Device device : test_devices()) {
    const auto nothing = [device](Shape shape) { return zeros(shape, DType::f32, device); };
    CHECK(causal_conv(nothing({4, 0, 3}), nothing({3, 2})).shape() == Shape{4, 0, 3});
    const Tensor weight = requires_grad(full({3, 2}, 1, DType::f32, device));
    const Tensor prefix = requires_grad(full({1, 5, 3}, 1, DType::f32, device));
    Tape tape;
    const Tensor y = causal_conv(nothing({0, 5, 3}), weight, Tensor(), prefix);
    tape.backward({y}, {y.detach()});
    CHECK(grad(weight).to_vector<float>() == std::vector<float>(6, 0));
    CHECK(grad(prefix).to_vector<float>() == std::vector<float>(15, 0));
  }
}

TEST_CASE("causal_conv: errors say what is wrong") {
  const Tensor x = zeros({4, 2, 3}, DType::f32), weight = zeros({3, 5}, DType::f32), none;
  const auto error = [](const Tensor& x, const Tensor& weight, const Tensor& bias, const Tensor& prefix) {
    return error_of([&] { causal_conv(x, weight, bias, prefix); });
  };
  CHECK(error(zeros({4, 3}, DType::f32), weight, none, none) ==
        "causal_conv: x is (4, 3); it must be (T, B, C)");
  CHECK(error(x, zeros({3}, DType::f32), none, none) ==
        "causal_conv: weight is (3); it must be (C, K), at least one tap for each channel");
  CHECK(error(x, zeros({3, 0}, DType::f32), none, none).find("at least one tap") != std::string::npos);
  CHECK(error(x, zeros({2, 5}, DType::f32), none, none) ==
        "causal_conv: weight is (2, 5), but x is (4, 2, 3) and takes weight (3, 5)");
  CHECK(error(x, weight, zeros({2}, DType::f32), none) ==
        "causal_conv: bias is (2), but x is (4, 2, 3) and takes bias (3)");
  CHECK(
      error(x, weight, none, zeros({5, 2, 3}, DType::f32)) ==
      "causal_conv: prefix is (5, 2, 3); with weight (3, 5) it must be (4, B, C), a row for each tap but the last");
  CHECK(error(x, zeros({3, 5}, DType::f64), none, none) ==
        "causal_conv: weight is f64 (3, 5) on cpu, but x is f32 (4, 2, "
        "3) on cpu; give weight in f32, on the device of x");
  CHECK(error(zeros({4, 2, 3}, DType::bf16), weight, none, none) ==
        "causal_conv: x is bf16 (4, 2, 3) on cpu; its dtype must be f32 or f64 on the CPU");
}

}  // namespace
}  // namespace tandem::testing
