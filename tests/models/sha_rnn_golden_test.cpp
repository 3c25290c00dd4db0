// SHA-RNN against the author's own code: losses, states, memory, gradients and evaluation of
// tests/golden/sha_rnn.
#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tandem/autograd/tape.h"
#include "tandem/core/safetensors.h"
#include "tandem/models/sha_rnn/sha_rnn.h"
#include "tandem/testing/max_difference.h"
#include "tests/support/devices.h"
#include "tests/support/golden_model.h"

namespace tandem::testing {
namespace {

constexpr int64_t kT = 32, kB = 3, kSegments = 4, kLayers = 3, kWidth = 48;

// Returns the author's name of a parameter: "layers.1.attention.query.weight" is "blocks.1.attn.q.weight".
std::string authors_name(const std::string& name) {
  if (name == "embedding.weight") return "encoder.weight";
  if (name == "output.bias") return "decoder.bias";
  const std::pair<const char*, const char*> parts[] = {
      {"start_norm.", "lnstart."},
      {"recurrence.input.weight", "rnn.weight_ih_l0"},
      {"recurrence.hidden.weight", "rnn.weight_hh_l0"},
      {"recurrence.input.bias", "rnn.bias_ih_l0"},
      {"recurrence.hidden.bias", "rnn.bias_hh_l0"},
      {"attention.memory_norm.", "lnmem."},
      {"attention.norm.", "lnmid."},
      {"attention.query.", "attn.q."},
      {"attention.query_norm.", "attn.qln."},
      {"attention.query_gate", "attn.qs"},
      {"attention.key_gate", "attn.ks"},
      {"attention.value_gate.", "attn.vq.l1."},
      {"attention.value_gate", "attn.vs"},
      {"boom.residual_norm.", "lnff."},
      {"boom.norm.", "lnxff."},
      {"boom.", "ff.linear1."},
  };
  const size_t after_index = std::string("layers.0.").size();
  const std::string rest = name.substr(after_index);
  for (const auto& [ours, theirs] : parts) {
    if (rest.rfind(ours, 0) != 0) continue;
    std::string last = rest.substr(std::string(ours).size());
    if (last == "gain") last = "weight";
    return "blocks." + name.substr(7, 2) + theirs + last;
  }
  return "?" + name;
}

struct Fixture {
  explicit Fixture(DType dtype, Device device = Device::cpu(), int64_t max_positions = 5000) {
    ShaRnnConfig config;
    config.vocabulary = 99;
    config.d = kWidth;
    config.d_boom = 96;
    config.layers = kLayers;
    config.max_positions = max_positions;
    config.dtype = dtype;
    config.device = device;
    model = make_sha_rnn(config, 1);
    std::vector<NamedTensor> values;
    for (const NamedTensor& parameter : model->parameters())
      values.push_back(
          {parameter.name, weights.get(authors_name(parameter.name)).view_as(parameter.value.shape())});
    model->load(values);
  }

  SafetensorsFile weights = SafetensorsFile::open(golden_path("sha_rnn/weights.safetensors"));
  SafetensorsFile outputs = SafetensorsFile::open(golden_path("sha_rnn/outputs.safetensors"));
  SafetensorsFile grads = SafetensorsFile::open(golden_path("sha_rnn/grads.safetensors"));
  nlohmann::json expected = golden_json("sha_rnn/expected.json");
  std::unique_ptr<LanguageModel> model;
};

Tensor segment_of(const Tensor& all, int64_t s) {
  return all.view_rows(s * kT, (s + 1) * kT);
}

Tensor tokens_of(const char* name, Device device) {
  return golden("sha_rnn/inputs", name).to(device);
}

void check_losses(Device device, DType dtype, double tolerance) {
  CAPTURE(device.str());
  const Fixture golden(dtype, device);
  const Tensor x = tokens_of("x", device), y = tokens_of("y", device), nll = golden.outputs.get("nll");
  const nlohmann::json& means = golden.expected["segments"]["mean_nll_nats"];
  State state;
  for (int64_t s = 0; s < kSegments; ++s) {
    CAPTURE(s);
    const Tensor losses = golden.model->token_losses(segment_of(x, s), segment_of(y, s), state, {});
    CHECK(relative_error(losses, segment_of(nll, s)) < tolerance);
    CHECK(mean_of(losses) == doctest::Approx(means[static_cast<size_t>(s)].get<double>()).epsilon(tolerance));
    for (const std::string name : {"h", "c"}) {
      const Tensor all = golden.outputs.get(name + "_after_each_segment").view_rows(s, s + 1);
      for (int64_t l = 0; l < kLayers; ++l)
        CHECK(relative_error(part(state, name + "." + std::to_string(l)),
                             all.view_as({kLayers, kB, kWidth}).view_rows(l, l + 1).view_as({kB, kWidth})) <
              tolerance);
    }
    if (s == 1)
      CHECK(relative_error(part(state, "memory.1"), golden.outputs.get("segment1.memory")) < tolerance);
  }
  CHECK(state.parts.size() == 2 * kLayers + 1);
}

void check_segment_2(Device device, DType dtype, double tolerance, bool recompute) {
  CAPTURE(device.str());
  const Fixture golden(dtype, device);
  const Tensor x = tokens_of("x", device), y = tokens_of("y", device);
  State state;
  for (int64_t s = 0; s < 2; ++s) golden.model->token_losses(segment_of(x, s), segment_of(y, s), state, {});
  Tape tape;
  const Tensor loss = golden.model->loss(segment_of(x, 2), segment_of(y, 2), state, {.recompute = recompute});
  CHECK(loss.item() == doctest::Approx(golden.expected["gradient"]["loss"].get<double>()).epsilon(tolerance));
  tape.backward(loss);

  std::vector<NamedTensor> ours;
  for (const NamedTensor& parameter : golden.model->parameters())
    ours.push_back({parameter.name, grad(parameter.value)});
  CHECK(ours.size() == golden.grads.names().size());
  check_gradients(
      ours, [&golden](const std::string& name) { return golden.grads.get(authors_name(name)); },
      golden.expected["gradient"]["global_l2_norm"], tolerance);
}

// Returns the ids of the first bytes of text.bin, (count, 1).
Tensor text_ids(int64_t count) {
  const SafetensorsFile weights = SafetensorsFile::open(golden_path("sha_rnn/weights.safetensors"));
  const std::string hex = weights.metadata().at("vocab");
  std::vector<int32_t> id_of(256, -1);
  for (size_t i = 0; i < hex.size() / 2; ++i)
    id_of[std::stoul(hex.substr(2 * i, 2), nullptr, 16)] = static_cast<int32_t>(i);
  std::ifstream file(golden_path("sha_rnn/text.bin"), std::ios::binary);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(id_of.at(static_cast<uint8_t>(file.get())));
  return tensor_of<int32_t>({count, 1}, ids);
}

}  // namespace

TEST_CASE("sha-rnn golden: losses, states and memory") {
  for (const Device device : test_devices()) {
    check_losses(device, DType::f64, 1e-9);
    check_losses(device, DType::f32, 1e-4);
  }
}

TEST_CASE("sha-rnn golden: gradients of segment 2") {
  for (const Device device : test_devices()) {
    check_segment_2(device, DType::f64, 1e-9, false);
    check_segment_2(device, DType::f64, 1e-9, true);
    check_segment_2(device, DType::f32, 1e-4, false);
  }
}

TEST_CASE("sha-rnn golden: evaluation, where memory grows and where it is cut before each segment") {
  const nlohmann::json expected = golden_json("sha_rnn/expected.json");
  for (const nlohmann::json& run : expected.at("eval")) {
    const int64_t window = run.at("bptt"), positions = run.at("max_positions");
    CAPTURE(window);
    CAPTURE(positions);
    const Fixture golden(DType::f64, Device::cpu(), positions);
    const int64_t predicted = run.at("predicted_bytes");
    const Tensor ids = text_ids(predicted + 1);
    State state;
    double sum = 0, last = 0;
    std::vector<double> means;
    for (int64_t begin = 0; begin < predicted; begin += window) {
      const int64_t end = std::min(begin + window, predicted);
      const Tensor losses =
          golden.model->token_losses(ids.view_rows(begin, end), ids.view_rows(begin + 1, end + 1), state, {});
      last = mean_of(losses);
      means.push_back(last);
      sum += last * static_cast<double>(end - begin);
    }
    CHECK(sum / static_cast<double>(predicted) ==
          doctest::Approx(run.at("mean_nll_nats").get<double>()).epsilon(1e-9));
    const auto first = run.at("first_segment_losses").get<std::vector<double>>();
    for (size_t i = 0; i < first.size(); ++i) CHECK(means.at(i) == doctest::Approx(first[i]).epsilon(1e-9));
    CHECK(last == doctest::Approx(run.at("last_segment_loss").get<double>()).epsilon(1e-9));
  }
}

TEST_CASE("sha-rnn golden: with its value gate collapsed the model is the same") {
  const Fixture golden(DType::f64);
  const auto collapsed = collapse_value_gates(*golden.model);
  CHECK(golden.model->parameter_count() - collapsed->parameter_count() == 2 * kWidth * (kWidth + 1));
  const Tensor x = tokens_of("x", Device::cpu()), y = tokens_of("y", Device::cpu());
  State state;
  for (int64_t s = 0; s < 2; ++s)
    CHECK(relative_error(collapsed->token_losses(segment_of(x, s), segment_of(y, s), state, {}),
                         segment_of(golden.outputs.get("nll"), s)) < 1e-9);
  CHECK(collapse_value_gates(*collapsed)->config() == collapsed->config());
}

}  // namespace tandem::testing
