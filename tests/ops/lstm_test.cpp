// lstm: cases, golden numbers of PyTorch, plain operators, segments, its two paths, CUDA graphs, errors.
#include "tandem/ops/lstm.h"

#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tandem/autograd/gradcheck.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/runtime/graph.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/reference/lstm.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"
#include "tests/support/run_op_case.h"
#include "tests/support/signatures.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

struct Case {
  int64_t steps, batch, in, width;
  bool h0 = true, c0 = true;
};

// Returns x, the four weights, and h0 and c0 if the case has them.
Tensors make_inputs(const Case& c, DType dtype, uint64_t seed) {
  const double bound = 1.5 / std::sqrt(static_cast<double>(c.width));
  Tensors inputs{random_tensor({c.steps, c.batch, c.in}, dtype, seed, -2, 2),
                 random_tensor({4 * c.width, c.in}, dtype, seed + 1, -bound, bound),
                 random_tensor({4 * c.width, c.width}, dtype, seed + 2, -bound, bound),
                 random_tensor({4 * c.width}, dtype, seed + 3),
                 random_tensor({4 * c.width}, dtype, seed + 4)};
  if (c.h0) inputs.push_back(random_tensor({c.batch, c.width}, dtype, seed + 5));
  if (c.c0) inputs.push_back(random_tensor({c.batch, c.width}, dtype, seed + 6, -2, 2));
  return inputs;
}

LstmWeights weights_of(const Tensors& in) {
  return {in[1], in[2], in[3], in[4]};
}

Tensors run(const Case& c, const Tensors& in, LstmPath path = LstmPath::fastest) {
  const LstmResult y =
      lstm(in[0], weights_of(in), c.h0 ? in[5] : Tensor(), c.c0 ? in.back() : Tensor(), path);
  return {y.h, y.h_last, y.c_last};
}

OpCase op_case_of(const std::string& name, const Case& c) {
  OpCase op_case;
  op_case.op = "lstm";
  op_case.name = name;
  op_case.inputs = [c](DType dtype, uint64_t seed) { return make_inputs(c, dtype, seed); };
  op_case.run = [c](const Tensors& in) { return run(c, in); };
  op_case.reference = [c](const Tensors& in) -> Tensors {
    const LstmResult y =
        reference::lstm(in[0], weights_of(in), c.h0 ? in[5] : Tensor(), c.c0 ? in.back() : Tensor());
    return {y.h, y.h_last, y.c_last};
  };
  op_case.tolerance_bf16 = 4e-2;  // the gradients of four rounded gates partly cancel in a sum
  op_case.weights = {1, 2, 3, 4};
  if (c.c0) op_case.weights.push_back(c.h0 ? 6 : 5);
  return op_case;
}

Tensors moved(const Tensors& xs, Device device) {
  Tensors ys;
  for (const Tensor& x : xs) ys.push_back(x.to(device));
  return ys;
}

constexpr Case kSmall{.steps = 5, .batch = 3, .in = 4, .width = 7};

}  // namespace

SIGNATURES(lstm) {
  add_signature({.op = "lstm",
                 .function = "lstm",
                 .sizes = {3, 2, 5, 4},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"x", {n[0], n[1], n[2]}},
                           {"weights.input", {4 * n[3], n[2]}},
                           {"weights.hidden", {4 * n[3], n[3]}},
                           {"weights.input_bias", {4 * n[3]}},
                           {"weights.hidden_bias", {4 * n[3]}},
                           {"h0", {n[1], n[3]}, DType::f32, true},
                           {"c0", {n[1], n[3]}, DType::f32, true}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   return {lstm(x[0], {x[1], x[2], x[3], x[4]}, x[5], x[6]).h};
                 }});
}

OP_CASES(lstm) {
  const auto add = [](const std::string& name, const Case& c) { add_op_case(op_case_of(name, c)); };
  add("one element", {.steps = 1, .batch = 1, .in = 1, .width = 1});
  add("one step", {.steps = 1, .batch = 3, .in = 5, .width = 33});
  add("one row", {.steps = 33, .batch = 1, .in = 3, .width = 3});
  add("odd sizes", kSmall);
  add("from zeros", {.steps = 3, .batch = 3, .in = 33, .width = 5, .h0 = false, .c0 = false});
  add("from a hidden state", {.steps = 3, .batch = 1, .in = 1, .width = 65, .c0 = false});
  add("from a cell state", {.steps = 3, .batch = 2, .in = 65, .width = 3, .h0 = false});
  add("enough for all threads", {.steps = 3, .batch = 33, .in = 65, .width = 65});
}

TEST_CASE("lstm: values and gradients are PyTorch's, one layer and two, on every device") {
  for (const Device device : test_devices())
    for (const int layers : {1, 2}) {
      const std::string prefix = "lstm" + std::to_string(layers) + ".";
      INFO(device.str(), ", ", prefix);
      const auto input = [&](const std::string& name) {
        return golden("ops/inputs", prefix + name).to(device);
      };
      const auto check = [&](const Tensor& actual, const std::string& file, const std::string& name) {
        CHECK_MESSAGE(relative_error(actual, golden(file, prefix + name)) < 1e-9, name);
      };
      const auto state = [&](const std::string& name, int layer) {
        return input(name).view_rows(layer, layer + 1).view_as({3, 12}).clone();
      };
      const std::vector<std::string> names{"weight_ih_l", "weight_hh_l", "bias_ih_l", "bias_hh_l"};
      const Tensor x = requires_grad(input("x"));
      std::vector<Tensors> leaves;  // for each layer: the weights, h0, c0
      Tensors states, roots;
      Grads dys;
      Tape tape;
      Tensor h = x;
      for (int layer = 0; layer < layers; ++layer) {
        Tensors in;
        for (const std::string& name : names)
          in.push_back(requires_grad(input(name + std::to_string(layer))));
        for (const char* name : {"h0", "c0"}) in.push_back(requires_grad(state(name, layer)));
        const LstmResult y = lstm(h, {in[0], in[1], in[2], in[3]}, in[4], in[5]);
        h = y.h;
        roots.insert(roots.end(), {y.h_last, y.c_last});
        dys.insert(dys.end(), {state("dhn", layer), state("dcn", layer)});
        leaves.push_back(in);
      }
      check(h, "ops/outputs", "y");
      const auto check_states = [&](const std::string& file, const char* name, const auto& of_layer) {
        Tensors rows;
        for (int layer = 0; layer < layers; ++layer) rows.push_back(reshape(of_layer(layer), {1, 3, 12}));
        check(concat(rows), file, name);
      };
      {
        const NoGrad values;
        check_states("ops/outputs", "hn", [&](int layer) { return roots[2 * layer].detach(); });
        check_states("ops/outputs", "cn", [&](int layer) { return roots[2 * layer + 1].detach(); });
      }
      roots.push_back(h);
      dys.push_back(input("dy"));
      tape.backward(roots, dys);
      check(grad(x), "ops/grads", "x");
      for (int layer = 0; layer < layers; ++layer)
        for (size_t i = 0; i < names.size(); ++i)
          check(grad(leaves[layer][i]), "ops/grads", names[i] + std::to_string(layer));
      check_states("ops/grads", "h0", [&](int layer) { return grad(leaves[layer][4]); });
      check_states("ops/grads", "c0", [&](int layer) { return grad(leaves[layer][5]); });
    }
}

// The LSTM made of plain operators, with a slice of the weights for each gate.
Tensors composed(const Tensors& in) {
  const int64_t width = in[2].size(1), batch = in[0].size(1);
  Tensor h = in[5], c = in[6];
  Tensors rows;
  for (int64_t t = 0; t < in[0].size(0); ++t) {
    const Tensor x = reshape(slice(in[0], t, t + 1), {batch, in[0].size(2)});
    const auto gate = [&](int64_t k) {
      const auto part = [&](int i) { return slice(in[i], k * width, (k + 1) * width); };
      return add(linear(x, part(1), part(3)), linear(h, part(2), part(4)));
    };
    c = add(mul(sigmoid(gate(1)), c), mul(sigmoid(gate(0)), tanh(gate(2))));
    h = mul(sigmoid(gate(3)), tanh(c));
    rows.push_back(reshape(h, {1, batch, width}));
  }
  return {concat(rows), h, c};
}

TEST_CASE("lstm: the operator equals its composition of plain ones") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32}) {
      INFO(device.str(), ", ", std::string(name_of(dtype)));
      OpCase plain = op_case_of("", kSmall);
      plain.run = composed;
      const Tensors inputs = moved(make_inputs(kSmall, dtype, 3), device);
      const Result fused = differentiate(op_case_of("", kSmall), inputs),
                   expected = differentiate(plain, inputs);
      const double tolerance = dtype == DType::f64 ? 1e-12 : 1e-5;
      for (size_t i = 0; i < expected.outputs.size(); ++i)
        CHECK(relative_error(fused.outputs[i], expected.outputs[i]) < tolerance);
      for (size_t i = 0; i < inputs.size(); ++i)
        CHECK(relative_error(fused.gradients[i], expected.gradients[i]) < tolerance);
    }
}

TEST_CASE("lstm: gradients of one result alone, on every device") {
  for (const Device device : test_devices())
    for (int output = 0; output < 3; ++output) {
      INFO(device.str(), ", output ", output);
      const auto one = [&](const Tensors& in, const auto& f) {
        Tensors leaves;
        for (const Tensor& x : in) leaves.push_back(requires_grad(x.clone()));
        Tape tape;
        const Tensor y = f(leaves)[output];
        tape.backward({y}, {random_tensor(y.shape(), y.dtype(), 8).to(device)});
        Tensors grads;
        for (const Tensor& leaf : leaves) grads.push_back(grad(leaf));
        return grads;
      };
      const Tensors inputs = moved(make_inputs(kSmall, DType::f64, 5), device);
      const Tensors fused = one(inputs, [](const Tensors& in) { return run(kSmall, in); });
      const Tensors expected = one(inputs, composed);
      for (size_t i = 0; i < inputs.size(); ++i) CHECK(relative_error(fused[i], expected[i]) < 1e-12);
    }
}

TEST_CASE("lstm: a gradient is the same whether or not other inputs want one, on every device") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32}) {
      INFO(device.str(), ", ", std::string(name_of(dtype)));
      const OpCase op_case = op_case_of("", kSmall);
      const Tensors inputs = moved(make_inputs(kSmall, dtype, 7), device);
      const Result all = differentiate(op_case, inputs);
      for (int i = 0; i < static_cast<int>(inputs.size()); ++i)
        CHECK(same_bits({differentiate(op_case, inputs, {.only = i}).gradients[i]}, {all.gradients[i]}));
    }
}

TEST_CASE("lstm: two segments chained through the state are one long pass, gradients too") {
  for (const Device device : test_devices()) {
    INFO(device.str());
    const Case c{.steps = 9, .batch = 2, .in = 3, .width = 7};
    const auto in_segments = [&c](const Tensors& in) -> Tensors {
      const LstmResult a = lstm(slice(in[0], 0, 4), weights_of(in), in[5], in[6]);
      const LstmResult b = lstm(slice(in[0], 4, c.steps), weights_of(in), a.h_last, a.c_last);
      return {concat({a.h, b.h}), b.h_last, b.c_last};
    };
    OpCase segments = op_case_of("", c);
    segments.run = in_segments;
    const Tensors inputs = moved(make_inputs(c, DType::f64, 11), device);
    const Result once = differentiate(op_case_of("", c), inputs), chained = differentiate(segments, inputs);
    for (size_t i = 0; i < once.outputs.size(); ++i)
      CHECK(relative_error(chained.outputs[i], once.outputs[i]) < 1e-14);
    for (size_t i = 0; i < inputs.size(); ++i)
      CHECK(relative_error(chained.gradients[i], once.gradients[i]) < 1e-14);
  }
}

TEST_CASE(
    "lstm: multiplied in bf16 on the CPU it is f32 but for rounding, the same bits for any number of threads") {
  if (!cpu_has_bf16()) {
    MESSAGE("skipped: this CPU has no bf16 instructions that oneDNN can use");
    return;
  }
  // The products of the steps are large enough for several threads.
  const Case c{.steps = 4, .batch = 9, .in = 33, .width = 200};
  const OpCase op_case = op_case_of("", c);
  const Tensors inputs = make_inputs(c, DType::f32, 13);
  const Result exact = differentiate(op_case, inputs);
  const PrecisionScope scope(MatmulPrecision::bf16);
  const Result rounded = differentiate(op_case, inputs);
  for (size_t i = 0; i < exact.outputs.size(); ++i) {
    CHECK(relative_error(rounded.outputs[i], exact.outputs[i]) < 1e-2);
    CHECK(relative_error(rounded.outputs[i], exact.outputs[i]) > 1e-5);
  }
  for (size_t i = 0; i < inputs.size(); ++i)
    CHECK(relative_error(rounded.gradients[i], exact.gradients[i]) < 2e-2);
  for (const int count : {1, 3}) {
    const Threads threads(count);
    const Result again = differentiate(op_case, inputs);
    CHECK(same_bits(again.outputs, rounded.outputs));
    CHECK(same_bits(again.gradients, rounded.gradients));
  }
}

TEST_CASE("lstm: the last states do not keep the others alive") {
  const Case c{.steps = 64, .batch = 1, .in = 2, .width = 8};
  const Tensors y = run(c, make_inputs(c, DType::f32, 5));
  for (const Tensor& last : {y[1], y[2]}) CHECK(last.storage()->bytes() < 64 * 8 * sizeof(float));
}

TEST_CASE("lstm: with bf16 inputs the cell state is f32") {
  if (!has_cuda()) {
    MESSAGE("skipped: no GPU (", cuda_status().text, ")");
    return;
  }
  Tensors in = moved(make_inputs(kSmall, DType::f32, 6), Device::cuda());
  for (const size_t i : {0, 5}) in[i] = in[i].to(DType::bf16);
  const Tensors y = run(kSmall, in);
  CHECK(y[0].dtype() == DType::bf16);
  CHECK(y[1].dtype() == DType::bf16);
  CHECK(y[2].dtype() == DType::f32);
}

TEST_CASE("lstm: a CUDA graph replays it, forward and backward") {
  if (!has_cuda()) {
    MESSAGE("skipped: no GPU (", cuda_status().text, ")");
    return;
  }
  if constexpr (kWithCuda)
    for (const DType dtype : {DType::f32, DType::bf16}) {
      INFO(std::string(name_of(dtype)));
      Tensors leaves = moved(make_inputs(kSmall, DType::f32, 19), Device::cuda());
      for (const size_t i : {0, 5}) leaves[i] = leaves[i].to(dtype);
      for (const Tensor& leaf : leaves) requires_grad(leaf);
      const Tensor dh = random_tensor({5, 3, 7}, dtype, 20).to(Device::cuda());
      Tensors results;
      const auto step = [&] {
        for (const Tensor& leaf : leaves) zero_grad(leaf);
        Tape tape;
        results = run(kSmall, leaves);
        tape.backward({results[0]}, {dh});
        for (const Tensor& leaf : leaves) results.push_back(grad(leaf));
      };
      step();
      const Tensors expected = clones(results);
      cuda::Graph graph;
      graph.capture(step);
      graph.replay(0);
      CHECK(same_bits(results, expected));
    }
}

TEST_CASE("lstm: cuDNN gives the values of the steps, and the same bits every time") {
  if constexpr (!cuda::kWithCudnn) {
    MESSAGE("skipped: this build has no cuDNN");
    return;
  }
  if (!has_cuda()) {
    MESSAGE("skipped: no GPU (", cuda_status().text, ")");
    return;
  }
  for (const Case& c :
       {kSmall, Case{.steps = 17, .batch = 8, .in = 64, .width = 128, .h0 = false, .c0 = false}})
    for (const bool bf16 : {false, true}) {
      INFO(std::string(bf16 ? "bf16" : "f32"), ", width ", c.width);
      Tensors inputs = moved(make_inputs(c, DType::f32, 15), Device::cuda());
      if (bf16) inputs[0] = inputs[0].to(DType::bf16);
      if (bf16 && c.h0) inputs[5] = inputs[5].to(DType::bf16);
      const OpCase fastest = op_case_of("", c);
      OpCase by_steps = fastest;
      by_steps.run = [&c](const Tensors& in) { return run(c, in, LstmPath::steps); };
      const Result actual = differentiate(fastest, inputs), expected = differentiate(by_steps, inputs);
      // The same bits would mean that cuDNN was not called.
      CHECK_FALSE(same_bits(actual.outputs, expected.outputs));
      for (size_t i = 0; i < expected.outputs.size(); ++i)
        CHECK(relative_error(actual.outputs[i], expected.outputs[i]) < (bf16 ? 2e-2 : 1e-5));
      for (size_t i = 0; i < inputs.size(); ++i)
        CHECK(relative_error(actual.gradients[i], expected.gradients[i]) < (bf16 ? 3e-2 : 1e-4));
      const Result again = differentiate(fastest, inputs);
      CHECK(same_bits(again.outputs, actual.outputs));
      CHECK(same_bits(again.gradients, actual.gradients));
      for (int i = 0; i < static_cast<int>(inputs.size()); ++i)
        CHECK(same_bits({differentiate(fastest, inputs, {.only = i}).gradients[i]}, {actual.gradients[i]}));
      const Result twice = differentiate(fastest, inputs, {.passes = 2});
      for (size_t i = 0; i < inputs.size(); ++i) {
        const Tensor once = actual.gradients[i].to(Device::cpu()).to(DType::f64);
        const Tensor doubled =
            tensor_from(once.shape(), [&](int64_t k) { return 2 * once.data<double>()[k]; });
        CHECK(relative_error(twice.gradients[i], doubled) < 1e-6);
      }
    }
}

TEST_CASE("lstm: errors say what is wrong") {
  const auto f32 = [](Shape shape) { return zeros(shape, DType::f32); };
  const Tensor x = f32({4, 2, 3});
  const LstmWeights good{f32({20, 3}), f32({20, 5}), f32({20}), f32({20})};
  const auto error = [](const Tensor& x, const LstmWeights& w, const Tensor& h0 = {}, const Tensor& c0 = {}) {
    return error_of([&] { lstm(x, w, h0, c0); });
  };
  CHECK(error(f32({4, 3}), good) == "lstm: x is (4, 3); it must be (T, B, I), and none of them 0");
  for (const Shape& shape : {Shape{0, 2, 3}, Shape{4, 0, 3}, Shape{4, 2, 0}})
    CHECK(error(f32(shape), good).find("and none of them 0") != std::string::npos);
  CHECK(error(zeros({4, 2, 3}, DType::bf16), good) ==
        "lstm: x is bf16 (4, 2, 3) on cpu; its dtype must be f32 or f64 on the CPU");
  CHECK(error(zeros({4, 2, 3}, DType::i32), good) ==
        "lstm: x is i32 (4, 2, 3) on cpu; its dtype must be f32 or f64 on the CPU");
  for (const Shape& shape : {Shape{20}, Shape{15, 5}, Shape{0, 0}}) {
    LstmWeights w = good;
    w.hidden = f32(shape);
    CHECK(error(x, w) == "lstm: weights.hidden is " + shape.str() + "; it must be (4 H, H)");
  }
  LstmWeights w = good;
  w.input = f32({20, 4});
  CHECK(error(x, w) == "lstm: weights.input is (20, 4), but x is (4, 2, 3) and takes weights.input (20, 3)");
  w = good;
  w.input_bias = f32({5});
  CHECK(error(x, w) ==
        "lstm: weights.input_bias is (5), but x is (4, 2, 3) and takes weights.input_bias (20)");
  w = good;
  w.hidden_bias = f32({20, 1});
  CHECK(error(x, w) ==
        "lstm: weights.hidden_bias is (20, 1), but x is (4, 2, 3) and takes weights.hidden_bias (20)");
  CHECK(error(x, good, f32({5, 2})) == "lstm: h0 is (5, 2), but x is (4, 2, 3) and takes h0 (2, 5)");
  CHECK(error(x, good, {}, f32({1, 2, 5})) ==
        "lstm: c0 is (1, 2, 5), but x is (4, 2, 3) and takes c0 (2, 5)");
  CHECK(error(x, good, {}, zeros({2, 5}, DType::f64)) ==
        "lstm: c0 is f64 (2, 5) on cpu, but x is f32 (4, 2, 3) on cpu; give c0 in f32, on the device of x");
}

}  // namespace tandem::testing
