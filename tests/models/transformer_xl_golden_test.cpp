// Transformer-XL against the authors' own code: losses, memory, gradients and evaluations of
// tests/golden/transformer_xl.
#include <doctest/doctest.h>

#include <array>
#include <nlohmann/json.hpp>

#include "tandem/autograd/tape.h"
#include "tandem/core/safetensors.h"
#include "tandem/models/registry.h"
#include "tandem/models/transformer/transformer.h"
#include "tandem/testing/max_difference.h"
#include "tests/support/devices.h"
#include "tests/support/files.h"
#include "tests/support/golden_model.h"

namespace tandem::testing {
namespace {

constexpr int64_t kT = 24, kLayers = 3;

SafetensorsFile file(const std::string& name) {
  return SafetensorsFile::open(golden_path("transformer_xl/" + name + ".safetensors"));
}

// Converts the authors' weights or gradients to our names: their layer i is our layers 2i and 2i + 1.
std::vector<NamedTensor> from_authors(const SafetensorsFile& theirs) {
  std::vector<NamedTensor> ours;
  const auto take = [&](const std::string& name, const std::string& their_name) {
    ours.push_back({name, theirs.get(their_name)});
  };
  take("embedding.weight", "word_emb.emb_layers.0.weight");
  take("output.bias", "crit.out_layers.0.bias");
  for (const auto& [name, their_name] :
       {std::pair{"content_bias", "r_w_bias"}, {"position_bias", "r_r_bias"}}) {
    const Tensor bias = theirs.get(their_name);
    ours.push_back({std::string("layers.0.") + name, bias.view_as({bias.numel()})});
  }
  for (int64_t i = 0; i < kLayers; ++i) {
    const std::string attention = "layers." + std::to_string(2 * i) + ".",
                      feed_forward = "layers." + std::to_string(2 * i + 1) + ".",
                      their_attention = "layers." + std::to_string(i) + ".dec_attn.",
                      their_feed_forward = "layers." + std::to_string(i) + ".pos_ff.";
    const Tensor qkv = theirs.get(their_attention + "qkv_net.weight");
    const int64_t width = qkv.size(0) / 3;
    ours.push_back({attention + "query.weight", qkv.view_rows(0, width)});
    ours.push_back({attention + "key_value.weight", qkv.view_rows(width, 3 * width)});
    take(attention + "position.weight", their_attention + "r_net.weight");
    take(attention + "output.weight", their_attention + "o_net.weight");
    take(attention + "residual.norm.gain", their_attention + "layer_norm.weight");
    take(attention + "residual.norm.bias", their_attention + "layer_norm.bias");
    for (const auto& [name, their_name] : {std::pair{"in", "CoreNet.0"}, {"out", "CoreNet.3"}})
      for (const std::string kind : {".weight", ".bias"})
        take(feed_forward + name + kind, their_feed_forward + their_name + kind);
    take(feed_forward + "residual.norm.gain", their_feed_forward + "layer_norm.weight");
    take(feed_forward + "residual.norm.bias", their_feed_forward + "layer_norm.bias");
  }
  return ours;
}

struct Fixture {
  explicit Fixture(DType dtype, Device device = Device::cpu())
      : outputs(file("outputs")), expected(golden_json("transformer_xl/expected.json")) {
    TransformerConfig config = TransformerConfig::of("transformer-xl");
    config.vocabulary = 99;
    config.layers = kLayers;
    config.d = 48;
    config.heads = 3;
    config.d_head = 16;
    config.d_inner = 96;
    config.dtype = dtype;
    config.device = device;
    // One of their frequencies is rounded differently from ours, which changes the losses by 2e-9.
    config.frequencies = file("weights").get("pos_emb.inv_freq").to_vector<float>();
    model = make_transformer(config, 1);
    model->load(from_authors(file("weights")));
    const SafetensorsFile inputs = file("inputs");
    x = inputs.get("x").to(DType::i32).to(device);
    y = inputs.get("y").to(DType::i32).to(device);
  }

  static Tensor rows(const Tensor& all, int64_t segment) {
    return all.view_rows(segment * kT, (segment + 1) * kT);
  }

  SafetensorsFile outputs;
  nlohmann::json expected;
  std::unique_ptr<LanguageModel> model;
  Tensor x, y;
};

struct Run {
  const char* losses;
  const char* means;
  AttentionContext context;
};

void check_losses(Device device, DType dtype, double tolerance, double mean_tolerance) {
  CAPTURE(device.str());
  const Fixture golden(dtype, device);
  for (const Run& run : {Run{"nll", "causal", {.memory = kT}},
                         Run{"nll_same_length", "same_length", {.memory = kT, .same_length = true}},
                         Run{"nll_clamp", "clamped", {.memory = kT, .clamp = 18}}}) {
    const Tensor nll = golden.outputs.get(run.losses);
    const nlohmann::json& means = golden.expected["segments"][run.means]["mean_nll_nats"];
    State state;
    ForwardOptions pass;
    pass.context = run.context;
    for (int64_t s = 0; s < 4; ++s) {
      const std::string where = std::string(run.losses) + " of segment " + std::to_string(s);
      CAPTURE(where);
      if (s == 2 && run.context.clamp == 0 && !run.context.same_length) {
        REQUIRE(state.parts.size() == kLayers);
        for (size_t l = 0; l < kLayers; ++l) {
          CHECK(state.parts[l].name == "memory." + std::to_string(2 * l));
          CHECK(relative_error(state.parts[l].value,
                               golden.outputs.get("segment2.memory." + std::to_string(l))) < tolerance);
        }
      }
      const Tensor losses =
          golden.model->token_losses(golden.rows(golden.x, s), golden.rows(golden.y, s), state, pass);
      CHECK(relative_error(losses, golden.rows(nll, s)) < tolerance);
      CHECK(std::abs(mean_of(losses) - means[static_cast<size_t>(s)].get<double>()) < mean_tolerance);
    }
  }
}

void check_segment_2(Device device, DType dtype, double tolerance, bool recompute) {
  CAPTURE(device.str());
  const Fixture golden(dtype, device);
  State state;
  ForwardOptions pass;
  pass.recompute = recompute;
  for (int64_t s = 0; s < 2; ++s)
    golden.model->token_losses(golden.rows(golden.x, s), golden.rows(golden.y, s), state, pass);
  Tape tape;
  const Tensor loss = golden.model->loss(golden.rows(golden.x, 2), golden.rows(golden.y, 2), state, pass);
  CHECK(loss.item() == doctest::Approx(golden.expected["gradient"]["loss"].get<double>()).epsilon(tolerance));
  tape.backward(loss);

  const std::vector<NamedTensor> wanted = from_authors(file("grads"));
  std::vector<NamedTensor> ours;
  for (const NamedTensor& parameter : golden.model->parameters())
    ours.push_back({parameter.name, grad(parameter.value)});
  CHECK(wanted.size() == ours.size());
  check_gradients(
      ours,
      [&wanted](const std::string& name) {
        const Tensor found = find_tensor(wanted, name);
        REQUIRE(found.defined());
        return found;
      },
      golden.expected["gradient"]["global_l2_norm"], tolerance);
}

}  // namespace

TEST_CASE("transformer-xl golden: losses and memory in f64") {
  for (const Device device : test_devices()) check_losses(device, DType::f64, 1e-9, 1e-9);
}

TEST_CASE("transformer-xl golden: losses and memory in f32") {
  for (const Device device : test_devices()) check_losses(device, DType::f32, 1e-4, 1e-5);
}

TEST_CASE("transformer-xl golden: gradients of segment 2 in f64") {
  for (const Device device : test_devices())
    for (const bool recompute : {false, true}) check_segment_2(device, DType::f64, 1e-9, recompute);
}

TEST_CASE("transformer-xl golden: gradients of segment 2 in f32") {
  for (const Device device : test_devices()) check_segment_2(device, DType::f32, 1e-4, false);
}

TEST_CASE("transformer-xl golden: the authors' bits per character") {
  const std::string vocabulary = file("weights").metadata().at("vocab");
  std::array<int32_t, 256> id_of{};
  for (size_t i = 0; i < vocabulary.size() / 2; ++i)
    id_of[std::stoul(vocabulary.substr(2 * i, 2), nullptr, 16)] = static_cast<int32_t>(i);
  std::vector<int32_t> ids;
  for (const char c : read_text(golden_path("transformer_xl/text.bin")))
    ids.push_back(id_of[static_cast<uint8_t>(c)]);
  const int64_t count = static_cast<int64_t>(ids.size()) - 1;
  const Tensor text = tensor_of<int32_t>({count + 1, 1}, ids);
  const Tensor x = text.view_rows(0, count), y = text.view_rows(1, count + 1);
  for (const DType dtype : {DType::f64, DType::f32}) {
    const Fixture golden(dtype);
    for (const nlohmann::json& run : golden.expected["eval"]) {
      CAPTURE(run.dump());
      CHECK(run["predicted_tokens"] == count);
      const auto steps = run["tgt_len"].get<int64_t>();
      ForwardOptions pass;
      pass.context = {.memory = run["mem_len"],
                      .same_length = run["same_length"],
                      .clamp = std::max<int64_t>(0, run["clamp_len"].get<int64_t>())};
      State state;
      double sum = 0;
      for (int64_t begin = 0; begin < count; begin += steps) {
        const int64_t end = std::min(count, begin + steps);
        sum += mean_of(golden.model->token_losses(x.view_rows(begin, end), y.view_rows(begin, end), state,
                                                  pass)) *
               static_cast<double>(end - begin);
      }
      CHECK(std::abs(sum / static_cast<double>(count) - run["mean_nll_nats"].get<double>()) <
            (dtype == DType::f64 ? 1e-9 : 1e-5));
    }
  }
}

}  // namespace tandem::testing
