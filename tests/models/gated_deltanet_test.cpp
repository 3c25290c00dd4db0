// Gated DeltaNet: losses and gradients of another implementation, parameter counts, errors.
#include "tandem/models/gated_deltanet/gated_deltanet.h"

#include <doctest/doctest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/parameter_count.h"
#include "tests/support/recurrence_golden.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

constexpr int64_t kKeys = 2 * 5;  // columns of the queries, and of the keys, in the golden model

// Returns the other implementation's name of a parameter: "layers.2.beta.weight" is
// "model.layers.1.linear_attn.in_proj_b.weight". Each of its layers is two of ours.
std::string authors_name(const std::string& name) {
  if (name == "embedding.weight") return "model.embed_tokens.weight";
  if (name == "output.weight") return "lm_head.weight";
  if (name == "layers.4.norm.scale") return "model.norm.weight";
  static const NamePairs mixing = {
      {"norm.scale", "input_layernorm.weight"},
      {"head_norm.scale", "linear_attn.norm.weight"},
      {"query.weight", "linear_attn.in_proj_qkv.weight"},
      {"key.weight", "linear_attn.in_proj_qkv.weight"},
      {"value.weight", "linear_attn.in_proj_qkv.weight"},
      {"query.filter", "linear_attn.conv1d.weight"},
      {"key.filter", "linear_attn.conv1d.weight"},
      {"value.filter", "linear_attn.conv1d.weight"},
      {"decay.weight", "linear_attn.in_proj_a.weight"},
      {"decay.bias", "linear_attn.dt_bias"},
      {"decay.rate", "linear_attn.A_log"},
      {"beta.weight", "linear_attn.in_proj_b.weight"},
      {"gate.weight", "linear_attn.in_proj_z.weight"},
      {"output.weight", "linear_attn.out_proj.weight"},
  };
  static const NamePairs feed_forward = {
      {"norm.scale", "post_attention_layernorm.weight"},
      {"in.weight", "mlp.gate_proj.weight"},
      {"factor.weight", "mlp.up_proj.weight"},
      {"out.weight", "mlp.down_proj.weight"},
  };
  return name_in_layer(name, "model.layers", mixing, feed_forward);
}

// Returns our part of another's tensor: queries, keys and values lie below each other, and so do their filters.
Tensor our_part(const std::string& name, const Tensor& theirs) {
  const auto has = [&name](const char* part) { return name.find(part) != std::string::npos; };
  if (has(".query.")) return theirs.view_rows(0, kKeys);
  if (has(".key.")) return theirs.view_rows(kKeys, 2 * kKeys);
  if (has(".value.")) return theirs.view_rows(2 * kKeys, theirs.size(0));
  return theirs;
}

GatedDeltaNetConfig golden_config(DType dtype, Device device) {
  GatedDeltaNetConfig config;
  config.vocabulary = 29;
  config.d = 12;
  config.heads = 2;
  config.d_key = 5;
  config.d_value = 7;
  config.d_feed_forward = 20;
  config.layers = 2;
  config.dtype = dtype;
  config.device = device;
  return config;
}

}  // namespace

MODEL_CASES(gated_deltanet) {
  // The norm of each head makes small outputs large; with its usual eps bf16 would round them to other gradients.
  add_small_model(R"({"model":"gated-deltanet","d":12,"heads":2,"d_key":6,"d_value":8,"d_feed_forward":20,
                      "layers":2,"norm_eps":0.01})");
}

TEST_CASE("gated-deltanet golden: losses and gradients, in one pass and in segments") {
  for (const Device device : test_devices())
    // In f32, keys that are short before they get the length 1 make rounding errors larger.
    for (const auto& [dtype, tolerance] : {std::pair{DType::f64, 1e-12}, {DType::f32, 5e-4}})
      check_recurrence_golden(
          "gated_deltanet", *make_gated_deltanet(golden_config(dtype, device), 1),
          {.authors_name = authors_name, .our_part = our_part, .centred = {"head_norm.scale"}}, device,
          tolerance);
}

TEST_CASE("gated-deltanet: exact parameter counts, and the published sizes") {
  CHECK(parameter_count("gated-deltanet", "laptop", 205) == 1295768);
  CHECK(parameter_count("gated-deltanet", "laptop-3m", 205) == 3049552);
  const nlohmann::json large = nlohmann::json::parse(preset("gated-deltanet", "1.3b").model_config);
  CHECK(large.at("d_key") == 256);
  CHECK(large.at("d_value") == 512);
}

TEST_CASE("gated-deltanet: initial decays") {
  GatedDeltaNetConfig config = golden_config(DType::f64, Device::cpu());
  config.heads = 64;
  const auto model = make_gated_deltanet(config, 3);
  for (const NamedTensor& parameter : model->parameters())
    for (const double value : parameter.value.to_vector<double>()) {
      if (parameter.name.ends_with("decay.bias")) {
        const double step = std::log1p(std::exp(value));
        CHECK((step >= 0.001 * (1 - 1e-12) && step <= 0.1 * (1 + 1e-12)));
      }
      if (parameter.name.ends_with("decay.rate"))
        CHECK((std::exp(value) >= 0.0099 && std::exp(value) <= 16.01));
    }
}

TEST_CASE("gated-deltanet: errors") {
  const auto error = [](const std::string& fields) {
    return error_of([&] { make_model(R"({"model":"gated-deltanet","vocabulary":5,)" + fields + "}", 1); });
  };
  CHECK(error(R"("d":0)") ==
        "gated-deltanet: sizes must be positive: vocabulary 5, d 0, heads 4, d_key 48, d_value 96, "
        "d_feed_forward 704");
  CHECK(contains(error(R"("heads":-1)"), "heads -1"));
  CHECK(error(R"("conv_width":1)") == "gated-deltanet: conv_width 1; a filter needs at least 2 steps");
  CHECK(error(R"("dropout":1.0)") == "gated-deltanet: dropout 1 must be in [0, 1)");
  CHECK(contains(error(R"("norm_eps":0.0)"), "norm_eps 0"));
  CHECK(contains(error(R"("layers":0)"), "gated-deltanet: 0 layers"));
}

}  // namespace tandem::testing
