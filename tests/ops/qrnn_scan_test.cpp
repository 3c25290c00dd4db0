// qrnn_scan: cases, golden numbers of the authors' library, zoneout, segments chained through the state,
// errors.
#include "tandem/ops/qrnn_scan.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "tandem/autograd/gradcheck.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/reference/qrnn_scan.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"
#include "tests/support/run_op_case.h"
#include "tests/support/signatures.h"

namespace tandem::testing {
namespace {

struct Case {
  int64_t steps, batch, width;
  QrnnPooling pooling = QrnnPooling::fo;
  bool c0 = true;
  double zoneout = 0;
  bool training = false;

  QrnnScanOptions options() const {
    return {.pooling = pooling, .zoneout = zoneout, .training = training, .key = {5, 7, 3}};
  }
};

Tensors make_inputs(const Case& c, DType dtype, uint64_t seed) {
  Tensors inputs{random_tensor({c.steps, c.batch, qrnn_planes(c.pooling) * c.width}, dtype, seed, -2, 2)};
  if (c.c0) inputs.push_back(random_tensor({c.batch, c.width}, dtype, seed + 1));
  return inputs;
}

QrnnScanResult scan(const Case& c, const Tensors& in) {
  return qrnn_scan(in[0], c.c0 ? in[1] : Tensor(), c.options());
}

OpCase op_case_of(const std::string& name, const Case& c) {
  OpCase op_case;
  op_case.op = "qrnn_scan";
  op_case.name = name;
  op_case.inputs = [c](DType dtype, uint64_t seed) { return make_inputs(c, dtype, seed); };
  op_case.run = [c](const Tensors& in) -> Tensors {
    const QrnnScanResult y = scan(c, in);
    return {y.h, y.c_last};
  };
  op_case.reference = [c](const Tensors& in) -> Tensors {
    const QrnnScanResult y = reference::qrnn_scan(in[0], c.c0 ? in[1] : Tensor(), c.options());
    return {y.h, y.c_last};
  };
  if (c.c0) op_case.weights = {1};
  return op_case;
}

// A case in which a GPU reads 16 bytes at once, in several chunks of time steps and a part of one.
constexpr Case kWide{.steps = 83, .batch = 2, .width = 40, .zoneout = 0.3, .training = true};

Tensors moved(const Tensors& xs, Device device) {
  Tensors ys;
  for (const Tensor& x : xs) ys.push_back(x.to(device));
  return ys;
}

}  // namespace

SIGNATURES(qrnn_scan) {
  add_signature({.op = "qrnn_scan",
                 .function = "qrnn_scan",
                 .sizes = {3, 2, 5},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   return {{"u", {n[0], n[1], 3 * n[2]}}, {"c0", {n[1], n[2]}, DType::f32, true}};
                 },
                 .call = [](const Tensors& x, const Numbers& n) -> Tensors {
                   return {qrnn_scan(x[0], x[1], {.zoneout = n[0]}).h};
                 },
                 .numbers = {{"options.zoneout", 0, {-1, 0.5, 1, NAN}}}});
}

OP_CASES(qrnn_scan) {
  constexpr QrnnPooling poolings[] = {QrnnPooling::f, QrnnPooling::fo, QrnnPooling::ifo};
  for (const QrnnPooling pooling : poolings) {
    const auto add = [pooling](const char* name, Case c) {
      c.pooling = pooling;
      add_op_case(op_case_of(std::to_string(qrnn_planes(pooling)) + " planes, " + name, c));
    };
    add("one element", {.steps = 1, .batch = 1, .width = 1});
    add("from a state", {.steps = 7, .batch = 3, .width = 33});
    add("from zeros", {.steps = 3, .batch = 1, .width = 65, .c0 = false});
    add("zoneout in training", {.steps = 5, .batch = 3, .width = 33, .zoneout = 0.4, .training = true});
    add("zoneout in evaluation", {.steps = 5, .batch = 2, .width = 17, .zoneout = 0.4});
    add("chunks of steps and of columns", kWide);
    add("whole chunks of steps", {.steps = 48, .batch = 3, .width = 8});
  }
  add_op_case(op_case_of("blocks of columns, the last one narrow",
                         {.steps = 3, .batch = 2, .width = 600, .zoneout = 0.2, .training = true}));
  add_op_case(op_case_of("enough for all threads", {.steps = 33, .batch = 3, .width = 130}));
}

TEST_CASE("qrnn_scan: gradients of h alone and of the last state alone, on every device") {
  for (const QrnnPooling pooling : {QrnnPooling::f, QrnnPooling::fo, QrnnPooling::ifo}) {
    const Case c{.steps = 6, .batch = 2, .width = 5, .pooling = pooling};
    const Tensors inputs = make_inputs(c, DType::f64, 3);
    for (const bool use_h : {true, false}) {
      const auto one = [c, use_h](const Tensors& in) -> Tensors {
        const QrnnScanResult y = scan(c, in);
        return {use_h ? y.h : y.c_last};
      };
      const GradcheckResult result = gradcheck(one, inputs);
      CHECK_MESSAGE(result.ok, result.message);
      OpCase op_case = op_case_of("", c);
      op_case.run = one;
      const Result expected = differentiate(op_case, inputs);
      for (const Device device : test_devices()) {
        const Result y = differentiate(op_case, moved(inputs, device));
        for (const size_t i : {0, 1}) CHECK(relative_error(y.gradients[i], expected.gradients[i]) < 1e-12);
      }
    }
  }
}

TEST_CASE("qrnn_scan: two segments chained through the state are one long pass, gradients too") {
  for (const Device device : test_devices())
    for (const QrnnPooling pooling : {QrnnPooling::f, QrnnPooling::fo, QrnnPooling::ifo}) {
      const Case whole{.steps = 9, .batch = 2, .width = 7, .pooling = pooling};
      const Tensors in = moved(make_inputs(whole, DType::f64, 11), device);
      const Tensor c0 = requires_grad(in[1].clone());
      const Tensor dh = random_tensor({9, 2, 7}, DType::f64, 21).to(device);
      const Tensor dc = random_tensor({2, 7}, DType::f64, 22).to(device);

      Tape tape;
      const QrnnScanResult once = qrnn_scan(in[0], c0, whole.options());
      tape.backward({once.h, once.c_last}, {dh, dc});
      const Tensor c0_grad = grad(c0).clone();
      zero_grad(c0);

      Tape second;
      const QrnnScanResult a = qrnn_scan(in[0].view_rows(0, 4), c0, whole.options());
      const QrnnScanResult b = qrnn_scan(in[0].view_rows(4, 9), a.c_last, whole.options());
      CHECK(same_bits({a.h, b.h, b.c_last}, {once.h.view_rows(0, 4), once.h.view_rows(4, 9), once.c_last}));
      second.backward({a.h, b.h, b.c_last}, {dh.view_rows(0, 4), dh.view_rows(4, 9), dc});
      CHECK(relative_error(grad(c0), c0_grad) < 1e-14);
    }
}

TEST_CASE("qrnn_scan: zoneout keeps states exactly, with its probability") {
  const Case c{
      .steps = 50, .batch = 4, .width = 100, .pooling = QrnnPooling::f, .zoneout = 0.3, .training = true};
  for (const Device device : test_devices()) {
    const Tensors in = moved(make_inputs(c, DType::f32, 4), device);
    const std::vector<float> h = scan(c, in).h.to_vector<float>();
    double kept = 0;
    for (size_t i = 400; i < h.size(); ++i) kept += h[i] == h[i - 400];
    CHECK(kept / static_cast<double>(h.size() - 400) == doctest::Approx(0.3).epsilon(0.03));
  }
}

TEST_CASE("qrnn_scan: the same bits wherever the tensors begin") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f32, DType::bf16}) {
      if (dtype == DType::bf16 && device.is_cpu()) continue;
      Tensors aligned = moved(make_inputs(kWide, DType::f32, 10), device);
      aligned[0] = aligned[0].to(dtype);
      const Tensor whole = zeros({aligned[0].numel() + 1}, dtype, device);
      const Tensor shifted = whole.view_rows(1, whole.numel()).view_as(aligned[0].shape());
      copy(shifted, aligned[0]);
      const auto run = [&aligned](const Tensor& u) -> Tensors {
        const Tensor leaf = requires_grad(u.detach());
        Tape tape;
        const QrnnScanResult y = scan(kWide, {leaf, aligned[1]});
        tape.backward({y.h}, {random_tensor(y.h.shape(), y.h.dtype(), 8).to(y.h.device())});
        return {y.h, y.c_last, grad(leaf)};
      };
      CHECK(same_bits(run(shifted), run(aligned[0])));
    }
}

TEST_CASE("qrnn_scan: gates stay gates and gradients finite for huge pre-activations") {
  for (const Device device : test_devices())
    for (const QrnnPooling pooling : {QrnnPooling::f, QrnnPooling::fo, QrnnPooling::ifo}) {
      const Tensor u = requires_grad(random_tensor({3, 1, 12}, DType::f32, 1, -1e30, 1e30).to(device));
      Tape tape;
      const QrnnScanResult y = qrnn_scan(u, Tensor(), {.pooling = pooling});
      for (const float value : y.h.to_vector<float>()) CHECK(std::abs(value) <= 3);
      tape.backward({y.h}, {full(y.h.shape(), 1.0, DType::f32, device)});
      for (const float value : grad(u).to_vector<float>()) CHECK(std::isfinite(value));
    }
}

TEST_CASE("qrnn_scan: with bf16 inputs the state is f32, and an empty batch is no error") {
  if (!has_cuda()) {
    MESSAGE("skipped: no GPU (", cuda_status().text, ")");
    return;
  }
  const Tensor u = zeros({4, 2, 9}, DType::bf16, Device::cuda());
  CHECK(qrnn_scan(u).h.dtype() == DType::bf16);
  CHECK(qrnn_scan(u).c_last.dtype() == DType::f32);
  CHECK(qrnn_scan(zeros({4, 0, 9}, DType::bf16, Device::cuda())).h.shape() == Shape{4, 0, 3});
}

// Returns the columns first .. first + n - 1 of a matrix.
Tensor columns(const Tensor& x, int64_t first, int64_t n) {
  return tensor_from({x.size(0), n}, [&x, first, n](int64_t i) {
    return x.data<double>()[i / n * x.size(1) + first + i % n];
  });
}

// A layer of a golden case: a matrix for the current input and, with window 2, one for the previous input.
struct GoldenLayer {
  Tensor weight, weight_before, bias;

  GoldenLayer(const std::string& name, int64_t inputs, Device device) {
    const Tensor both = golden("qrnn/weights", name + "weight");
    weight = requires_grad(columns(both, 0, inputs).to(device));
    if (both.size(1) > inputs) weight_before = requires_grad(columns(both, inputs, inputs).to(device));
    bias = requires_grad(golden("qrnn/weights", name + "bias").to(device));
  }
  Tensor pre_activations(const Tensor& x, const Tensor& last_input) const {
    const Tensor u = linear(x, weight, bias);
    if (!weight_before.defined()) return u;
    return u + linear(concat({last_input, slice(x, 0, x.size(0) - 1)}), weight_before);
  }
};

double dot(const Tensor& a, const Tensor& b) {
  double total = 0;
  const std::vector<double> u = a.to_vector<double>(), v = b.to_vector<double>();
  for (size_t i = 0; i < u.size(); ++i) total += u[i] * v[i];
  return total;
}

void check_golden(const std::string& name, Device device) {
  INFO(name, " on ", device.str());
  const nlohmann::json expected = golden_json("qrnn/expected.json").at("cases").at(name);
  const nlohmann::json config = expected.at("config");
  const bool carried = config.at("save_prev_x");
  const QrnnScanOptions options{.pooling = config.at("output_gate") ? QrnnPooling::fo : QrnnPooling::f};
  const auto input = [&](const char* what) { return golden("qrnn/inputs", name + what).to(device); };
  const auto output = [&](const char* what) { return golden("qrnn/outputs", name + what); };
  const auto gradient = [&](const std::string& what) { return golden("qrnn/grads", name + what); };
  const Tensor x = input(".x"), dout = input(".dout"), dh = input(".dh"), h0 = input(".h0");
  const int64_t layer_count = h0.size(0), steps = expected.at("T"), batch = x.size(1);

  std::vector<GoldenLayer> layers;
  Tensors states, last_inputs;
  for (int64_t l = 0; l < layer_count; ++l) {
    const int64_t inputs = l == 0 ? x.size(2) : h0.size(2);
    layers.emplace_back(name + ".layers." + std::to_string(l) + ".linear.", inputs, device);
    states.push_back(h0.view_rows(l, l + 1).view_as({batch, h0.size(2)}));
    last_inputs.push_back(zeros({1, batch, inputs}, DType::f64, device));
  }
  for (int64_t segment = 0; segment < 3; ++segment) {
    Tape tape;
    const Tensor leaf = requires_grad(x.view_rows(segment * steps, (segment + 1) * steps));
    Tensors entering, roots, dys;
    Tensor y = leaf;
    for (int64_t l = 0; l < layer_count; ++l) {
      entering.push_back(requires_grad(states[l].clone()));
      const Tensor u = layers[l].pre_activations(y, last_inputs[l]);
      if (carried) last_inputs[l] = y.detach().view_rows(steps - 1, steps);
      const QrnnScanResult out = qrnn_scan(u, entering[l], options);
      y = out.h;
      states[l] = out.c_last.detach();
      roots.push_back(out.c_last);
      dys.push_back(dh.view_rows(segment, segment + 1)
                        .view_as(h0.shape())
                        .view_rows(l, l + 1)
                        .view_as(out.c_last.shape()));
    }
    roots.push_back(y);
    dys.push_back(dout.view_rows(segment * steps, (segment + 1) * steps));

    double loss = 0;
    for (size_t i = 0; i < roots.size(); ++i) loss += dot(roots[i], dys[i]);
    CHECK(loss == doctest::Approx(expected.at("loss_per_segment")[segment].get<double>()).epsilon(1e-9));
    CHECK(relative_error(y, output(".output").view_rows(segment * steps, (segment + 1) * steps)) < 1e-9);
    const Tensor after = output(".h_after_each_segment").view_rows(segment, segment + 1).view_as(h0.shape());
    for (int64_t l = 0; l < layer_count; ++l)
      CHECK(relative_error(states[l], after.view_rows(l, l + 1).view_as(states[l].shape())) < 1e-9);
    if (segment != expected.at("gradient_segment")) continue;

    tape.backward(roots, dys);
    CHECK(relative_error(grad(leaf), gradient(".x")) < 1e-9);
    for (int64_t l = 0; l < layer_count; ++l) {
      INFO("layer ", l);
      const GoldenLayer& layer = layers[l];
      const std::string linear_name = ".layers." + std::to_string(l) + ".linear.";
      const Tensor both = gradient(linear_name + "weight");
      const int64_t inputs = layer.weight.size(1);
      CHECK(relative_error(grad(layer.weight), columns(both, 0, inputs)) < 1e-9);
      if (layer.weight_before.defined())
        CHECK(relative_error(grad(layer.weight_before), columns(both, inputs, inputs)) < 1e-9);
      CHECK(relative_error(grad(layer.bias), gradient(linear_name + "bias")) < 1e-9);
      CHECK(relative_error(grad(entering[l]),
                           gradient(".h_in").view_rows(l, l + 1).view_as(entering[l].shape())) < 1e-9);
    }
  }
}

TEST_CASE("qrnn_scan: stacks of layers give the library's losses, states and gradients") {
  for (const Device device : test_devices())
    for (const char* name : {"window1", "window2", "window2_no_carry", "window1_no_output_gate"})
      check_golden(name, device);
}

TEST_CASE("qrnn_scan: errors say what is wrong") {
  const auto error = [](const Tensor& u, const Tensor& c0, const QrnnScanOptions& options) {
    return error_of([&] { qrnn_scan(u, c0, options); });
  };
  const Tensor u = zeros({4, 2, 9}, DType::f32), none;
  CHECK(error(zeros({4, 18}, DType::f32), none, {}) ==
        "qrnn_scan: u is (4, 18); for this pooling it must be (T, B, 3 D) with at least one time step");
  CHECK(error(zeros({0, 2, 9}, DType::f32), none, {}).find("at least one time step") != std::string::npos);
  CHECK(error(zeros({4, 2, 0}, DType::f32), none, {}).find("(T, B, 3 D)") != std::string::npos);
  CHECK(error(u, none, {.pooling = QrnnPooling::ifo})
            .find("u is (4, 2, 9); for this pooling it must be (T, B, 4 D)") != std::string::npos);
  CHECK(error(u, none, {.zoneout = 1}) == "qrnn_scan: options.zoneout is 1; it must lie in [0, 1)");
  CHECK(error(u, none, {.zoneout = -0.5}) == "qrnn_scan: options.zoneout is -0.5; it must lie in [0, 1)");
  CHECK(error(u, zeros({2, 2}, DType::f32), {}) ==
        "qrnn_scan: c0 is (2, 2), but u is (4, 2, 9) and takes c0 (2, 3)");
  CHECK(
      error(u, zeros({2, 3}, DType::f64), {}) ==
      "qrnn_scan: c0 is f64 (2, 3) on cpu, but u is f32 (4, 2, 9) on cpu; give c0 in f32, on the device of u");
  CHECK(error(zeros({4, 2, 9}, DType::bf16), none, {}) ==
        "qrnn_scan: u is bf16 (4, 2, 9) on cpu; its dtype must be f32 or f64 on the CPU");
  CHECK(error(zeros({4, 2, 9}, DType::i32), none, {}).find("qrnn_scan: u is i32") == 0);
}

}  // namespace tandem::testing
