// QRNN layers and models: the authors' numbers, parameter counts, windows, zoneout, errors.
#include "tandem/models/qrnn/qrnn.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/testing/max_difference.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/parameter_count.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

constexpr int64_t kT = 11, kB = 3, kSegments = 3, kIn = 24, kHidden = 32;

TokenConfig f64_on(Device device) {
  TokenConfig config;
  config.dtype = DType::f64;
  config.device = device;
  return config;
}

// A case of tests/golden/qrnn: layers, their inputs and outputs.
struct Case {
  Case(std::string case_name, Device on) : name(std::move(case_name)), device(on) {
    const nlohmann::json config = golden_json("qrnn/expected.json").at("cases").at(name).at("config");
    const std::vector<int64_t> windows = config.at("windows");
    carries_x = config.at("save_prev_x");
    Random random(1);
    for (size_t i = 0; i < windows.size(); ++i) {
      const QrnnLayerOptions options = {
          .window = windows[i], .pooling = config.at("output_gate") ? QrnnPooling::fo : QrnnPooling::f};
      layers.push_back(
          std::make_unique<QrnnLayer>(i == 0 ? kIn : kHidden, kHidden, options, f64_on(device), random));
      const std::string linear = "layers." + std::to_string(i) + ".linear.";
      layers.back()->load(
          {{"weight", get("weights", linear + "weight")}, {"bias", get("weights", linear + "bias")}});
    }
  }

  Tensor get(const std::string& file, const std::string& what) const {
    return golden("qrnn/" + file, name + "." + what).to(device);
  }
  // Selects a layer from (layers, B, H).
  Tensor layer_rows(const Tensor& all, size_t layer) const {
    const auto i = static_cast<int64_t>(layer);
    return all.view_rows(i, i + 1).view_as({kB, kHidden});
  }
  // Selects a segment from (segments, layers, B, H).
  Tensor of_segment(const Tensor& all, int64_t s) const {
    return all.view_rows(s, s + 1).view_as({static_cast<int64_t>(layers.size()), kB, kHidden});
  }

  std::string name;
  Device device;
  bool carries_x = false;
  std::vector<std::unique_ptr<QrnnLayer>> layers;
};

void check_case(const std::string& name, Device device) {
  CAPTURE(name);
  CAPTURE(device.str());
  const Case golden(name, device);
  const Tensor x = golden.get("inputs", "x"), h0 = golden.get("inputs", "h0");
  const Tensor output = golden.get("outputs", "output");
  const Tensor h_after = golden.get("outputs", "h_after_each_segment");
  std::vector<LayerState> states;
  for (size_t i = 0; i < golden.layers.size(); ++i) states.push_back({golden.layer_rows(h0, i)});

  for (int64_t s = 0; s < kSegments; ++s) {
    CAPTURE(s);
    Tape tape;
    const Tensor x_segment = requires_grad(x.view_rows(s * kT, (s + 1) * kT).clone());
    std::vector<Tensor> h_in;
    Tensor h = x_segment;
    std::vector<Tensor> results, weights;
    for (size_t i = 0; i < golden.layers.size(); ++i) {
      states[i][0] = requires_grad(states[i][0].detach().clone());
      h_in.push_back(states[i][0]);
      const Layer::Output out = golden.layers[i]->forward(h, states[i], {}, 0);
      h = out.h;
      results.push_back(out.state[0]);
      weights.push_back(golden.layer_rows(golden.of_segment(golden.get("inputs", "dh"), s), i));
      states[i] = {out.state[0], golden.carries_x && out.state.size() > 1 ? out.state[1] : Tensor()};
      CHECK(relative_error(out.state[0], golden.layer_rows(golden.of_segment(h_after, s), i)) < 1e-9);
    }
    CHECK(relative_error(h, output.view_rows(s * kT, (s + 1) * kT)) < 1e-9);
    if (s + 1 < kSegments) continue;

    results.push_back(h);
    weights.push_back(golden.get("inputs", "dout").view_rows(s * kT, (s + 1) * kT));
    tape.backward(results, weights);
    CHECK(relative_error(grad(x_segment), golden.get("grads", "x")) < 1e-9);
    for (size_t i = 0; i < golden.layers.size(); ++i) {
      CAPTURE(i);
      CHECK(relative_error(grad(h_in[i]), golden.layer_rows(golden.get("grads", "h_in"), i)) < 1e-9);
      for (const NamedTensor& parameter : golden.layers[i]->parameters())
        CHECK(relative_error(
                  grad(parameter.value),
                  golden.get("grads", "layers." + std::to_string(i) + ".linear." + parameter.name)) < 1e-9);
    }
  }
}

}  // namespace

MODEL_CASES(qrnn) {
  add_small_model(R"({"model":"qrnn","d":16,"layers":2})");
  add_small_model(R"({"model":"qrnn","d":16,"d_embedding":12,"layers":2,"tied":true,
                      "first_window":1,"window":2,"pooling":"ifo","variational":true})");
  add_small_model(R"({"model":"qrnn","d":16,"layers":2,"window":2,"pooling":"f"})");
}

TEST_CASE("qrnn golden: outputs, states and gradients") {
  for (const Device device : test_devices())
    for (const char* name : {"window1", "window2", "window2_no_carry", "window1_no_output_gate"})
      check_case(name, device);
}

TEST_CASE("qrnn: exact parameter counts") {
  Random random(1);
  const auto layer = [&random](int64_t window) {
    return QrnnLayer(1024, 1024, {.window = window}, {}, random).parameter_count();
  };
  CHECK(layer(1) == 3148800);
  CHECK(layer(2) == 6294528);
  CHECK(parameter_count("qrnn", "ptb", 10000) == 24020150);
}

TEST_CASE("qrnn: the tied model's first layer takes the embedding's width, its last one gives it") {
  const QrnnConfig config = QrnnConfig::from_text(preset("qrnn", "ptb").model_config);
  CHECK(config.input_width(0) == 400);
  CHECK(config.output_width(0) == 1550);
  CHECK(config.input_width(3) == 1550);
  CHECK(config.output_width(3) == 400);
}

TEST_CASE("qrnn: zoneout is drawn in training, by the key, and expected in evaluation") {
  const Tensor tokens = tensor_of<int32_t>({3, 2}, {1, 2, 3, 4, 0, 1});
  QrnnConfig config;
  config.vocabulary = 5;
  config.d = 8;
  const auto run = [&](double zoneout, const ForwardOptions& pass) {
    config.zoneout = zoneout;
    State state;
    return make_qrnn(config, 1)->logits(tokens, state, pass).to_vector<float>();
  };
  CHECK(run(0, {}) == run(0, {.training = true}));
  CHECK(run(0.5, {}) != run(0, {}));
  CHECK(run(0.5, {.training = true}) != run(0.5, {}));
  CHECK(run(0.5, {.training = true, .step = 1}) == run(0.5, {.training = true, .step = 1}));
  CHECK(run(0.5, {.training = true, .step = 1}) != run(0.5, {.training = true, .step = 2}));
}

TEST_CASE("qrnn: errors") {
  const auto error = [](const std::string& fields) {
    return error_of([&] { make_model(R"({"model":"qrnn","vocabulary":5,)" + fields + "}", 1); });
  };
  CHECK(error(R"("window":3)") == "qrnn: window 3 must be 1 or 2");
  CHECK(error(R"("first_window":0)") == "qrnn: window 0 must be 1 or 2");
  CHECK(error(R"("pooling":"io")") == "qrnn: pooling io is not known; there are f, fo and ifo");
  CHECK(error(R"("zoneout":1.0)") == "qrnn: zoneout 1 must be in [0, 1)");
  CHECK(error(R"("d":0)") ==
        "qrnn: sizes must be positive: vocabulary 5, d 0, layers 3, d of the embedding 0");
  CHECK(error(R"("input_dropout":-0.5)") == "qrnn: dropout -0.5 must be in [0, 1)");
  CHECK(error(R"("dropout":1.0)") == "qrnn: dropout 1 must be in [0, 1)");
  CHECK(error(R"("output_dropout":2.0)") == "qrnn: dropout 2 must be in [0, 1)");
}

}  // namespace tandem::testing
