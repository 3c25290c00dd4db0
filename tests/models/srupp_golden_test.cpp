// SRU++ against the authors' own code: losses, states, layer inputs and gradients of tests/golden/srupp.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "tandem/autograd/tape.h"
#include "tandem/core/safetensors.h"
#include "tandem/models/srupp/authors_weights.h"
#include "tandem/testing/max_difference.h"
#include "tests/support/devices.h"
#include "tests/support/golden_model.h"

using namespace tandem;
using namespace tandem::testing;

namespace {

constexpr int64_t kT = 32, kB = 3, kSegments = 4, kLayers = 4;

std::vector<NamedTensor> read_all(const SafetensorsFile& file) {
  std::vector<NamedTensor> all;
  for (const std::string& name : file.names()) all.push_back({name, file.get(name)});
  return all;
}

struct Fixture {
  explicit Fixture(DType dtype, Device device = Device::cpu())
      : weights(SafetensorsFile::open(golden_path("srupp/weights.safetensors"))),
        inputs(SafetensorsFile::open(golden_path("srupp/inputs.safetensors"))),
        outputs(SafetensorsFile::open(golden_path("srupp/outputs.safetensors"))),
        grads(SafetensorsFile::open(golden_path("srupp/grads.safetensors"))),
        expected(golden_json("srupp/expected.json")),
        model(load_authors_srupp(read_all(weights), 1, dtype, device)),
        x(inputs.get("x").to(DType::i32).to(device)),
        y(inputs.get("y").to(DType::i32).to(device)) {}

  Tensor rows(const Tensor& all, int64_t segment) const {
    return all.view_rows(segment * kT, (segment + 1) * kT);
  }

  SafetensorsFile weights, inputs, outputs, grads;
  nlohmann::json expected;
  std::unique_ptr<LanguageModel> model;
  Tensor x, y;
};

void check_losses(Device device, DType dtype, double tolerance, double mean_tolerance) {
  CAPTURE(device.str());
  Fixture golden(dtype, device);
  for (const bool same_length : {false, true}) {
    const Tensor nll = golden.outputs.get(same_length ? "nll_same_length" : "nll");
    const nlohmann::json& means =
        golden.expected["segments"][same_length ? "same_length_mask" : "causal_mask"]["mean_nll_nats"];
    State state;
    ForwardOptions pass;
    pass.context = {.memory = kT, .same_length = same_length};
    for (int64_t s = 0; s < kSegments; ++s) {
      CAPTURE(same_length);
      CAPTURE(s);
      if (s == 2 && !same_length)
        for (int64_t l = 0; l < kLayers; ++l) {
          // The layers' inputs in segment 2 are the memory they leave, compared after the segment.
          CHECK(part(state, "c." + std::to_string(l)).shape() == Shape({kB, 64}));
        }
      const Tensor losses =
          golden.model->token_losses(golden.rows(golden.x, s), golden.rows(golden.y, s), state, pass);
      CHECK(relative_error(losses, golden.rows(nll, s)) < tolerance);
      CHECK(std::abs(mean_of(losses) - means[static_cast<size_t>(s)].get<double>()) < mean_tolerance);
      if (same_length) continue;
      const Tensor c_after =
          golden.outputs.get("c_after_each_segment").view_rows(s, s + 1).view_as({kLayers, kB, 64});
      for (int64_t l = 0; l < kLayers; ++l) {
        const std::string layer = std::to_string(l);
        CHECK(relative_error(part(state, "c." + layer), c_after.view_rows(l, l + 1).view_as({kB, 64})) <
              tolerance);
        if (s == 2)
          CHECK(relative_error(part(state, "memory." + layer),
                               golden.outputs.get("segment2.layer_input." + layer)) < tolerance);
      }
    }
  }
}

void check_segment_2(Device device, DType dtype, double tolerance, bool recompute) {
  CAPTURE(device.str());
  Fixture golden(dtype, device);
  State state;
  ForwardOptions pass;
  pass.recompute = recompute;
  for (int64_t s = 0; s < 2; ++s)
    golden.model->token_losses(golden.rows(golden.x, s), golden.rows(golden.y, s), state, pass);
  Tape tape;
  const Tensor loss = golden.model->loss(golden.rows(golden.x, 2), golden.rows(golden.y, 2), state, pass);
  CHECK(loss.item() == doctest::Approx(golden.expected["gradient"]["loss"].get<double>()).epsilon(tolerance));
  tape.backward(loss);

  std::vector<NamedTensor> ours;
  for (const NamedTensor& parameter : golden.model->parameters())
    ours.push_back({parameter.name, grad(parameter.value).to(Device::cpu())});
  const SruppConfig config = SruppConfig::from_text(golden.model->config());
  const std::vector<NamedTensor> theirs = to_authors_layout(ours, config);
  CHECK(theirs.size() == golden.grads.names().size());
  check_gradients(
      theirs, [&golden](const std::string& name) { return golden.grads.get(name); },
      golden.expected["gradient"]["global_l2_norm"], tolerance);
}

}  // namespace

TEST_CASE("srupp golden: losses, cell states and layer inputs in f64") {
  for (const Device device : test_devices()) check_losses(device, DType::f64, 1e-9, 1e-9);
}

TEST_CASE("srupp golden: losses, cell states and layer inputs in f32") {
  for (const Device device : test_devices()) check_losses(device, DType::f32, 1e-4, 1e-5);
}

TEST_CASE("srupp golden: gradients of segment 2 in f64") {
  for (const Device device : test_devices()) check_segment_2(device, DType::f64, 1e-9, false);
  for (const Device device : test_devices()) check_segment_2(device, DType::f64, 1e-9, true);
}

TEST_CASE("srupp golden: gradients of segment 2 in f32") {
  for (const Device device : test_devices()) check_segment_2(device, DType::f32, 1e-4, false);
}

TEST_CASE("srupp golden: the authors' layout and ours convert both ways") {
  Fixture golden(DType::f32);
  const SruppConfig config = SruppConfig::from_text(golden.model->config());
  CHECK(config.d == 64);
  CHECK(config.d_projected == 16);
  CHECK(config.attention_every == 1);
  for (const NamedTensor& weight : to_authors_layout(golden.model->parameters(), config)) {
    CAPTURE(weight.name);
    CHECK(relative_error(weight.value, golden.weights.get(weight.name)) == 0);
  }
}
