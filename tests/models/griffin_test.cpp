// Griffin and Hawk: the losses and gradients of the authors' code, parameter counts, local attention, errors.
#include "tandem/models/griffin/griffin.h"

#include <doctest/doctest.h>

#include "tandem/core/array.h"
#include "tandem/models/registry.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/parameter_count.h"
#include "tests/support/recurrence_golden.h"
#include "tests/support/small_models.h"

namespace tandem::testing {
namespace {

// Returns the authors' name of a parameter: "layers.2.decay" is "blocks.1.recurrent_block.rg_lru.a_param". Each of
// their blocks is two layers of ours.
std::string authors_name(const std::string& name) {
  if (name == "embedding.weight") return "embedder.input_embedding";
  if (name == "layers.4.norm.scale") return "final_norm.scale";
  static const NamePairs recurrent = {
      {"norm.scale", "temporal_pre_norm.scale"},
      {"branch.weight", "recurrent_block.linear_y.weight"},
      {"branch.bias", "recurrent_block.linear_y.bias"},
      {"input.weight", "recurrent_block.linear_x.weight"},
      {"input.bias", "recurrent_block.linear_x.bias"},
      {"conv.filter", "recurrent_block.conv_1d.w"},
      {"conv.bias", "recurrent_block.conv_1d.b"},
      {"decay", "recurrent_block.rg_lru.a_param"},
      {"decay_gate.weight", "recurrent_block.rg_lru.a_gate.w"},
      {"decay_gate.bias", "recurrent_block.rg_lru.a_gate.b"},
      {"input_gate.weight", "recurrent_block.rg_lru.input_gate.w"},
      {"input_gate.bias", "recurrent_block.rg_lru.input_gate.b"},
      {"output.weight", "recurrent_block.linear_out.weight"},
      {"output.bias", "recurrent_block.linear_out.bias"},
  };
  static const NamePairs feed_forward = {
      {"norm.scale", "channel_pre_norm.scale"}, {"in.weight", "mlp_block.ffw_up.w"},
      {"in.bias", "mlp_block.ffw_up.b"},        {"factor.weight", "mlp_block.ffw_up.w"},
      {"factor.bias", "mlp_block.ffw_up.b"},    {"out.weight", "mlp_block.ffw_down.weight"},
      {"out.bias", "mlp_block.ffw_down.bias"},
  };
  return name_in_layer(name, "blocks", recurrent, feed_forward);
}

// Returns our part of an authors' tensor. They keep filters, gates and both first matrices of the feed-forward
// layer (2, in, out) by their inputs.
Tensor our_part(const std::string& name, const Tensor& theirs) {
  const auto ends = [&name](const char* end) { return name.ends_with(end); };
  const bool first = ends(".in.weight") || ends(".in.bias"),
             second = ends(".factor.weight") || ends(".factor.bias");
  Tensor part = theirs;
  if (first || second) part = theirs.view_rows(second, second + 1);
  if (ends("conv.filter") || ends("_gate.weight") || ends(".in.weight") || ends(".factor.weight"))
    return transposed(part);
  return part;
}

GriffinConfig golden_config(DType dtype, Device device) {
  GriffinConfig config;
  config.vocabulary = 29;
  config.d = 12;
  config.d_recurrent = 16;
  config.d_feed_forward = 20;
  config.layers = 2;
  config.blocks = 2;
  config.attention_every = 0;
  config.dtype = dtype;
  config.device = device;
  return config;
}

}  // namespace

MODEL_CASES(griffin) {
  add_small_model(R"({"model":"griffin","d":12,"d_recurrent":16,"d_feed_forward":20,"layers":3,"blocks":2,
                      "heads":2,"window":4})");
  add_small_model(R"({"model":"griffin","d":12,"d_recurrent":12,"d_feed_forward":20,"layers":2,"blocks":3,
                      "attention_every":0,"scaled_embedding":true,"tied":false})");
}

TEST_CASE("griffin golden: Hawk's losses and gradients, in one pass and in segments") {
  for (const Device device : test_devices())
    for (const auto& [dtype, tolerance] : {std::pair{DType::f64, 1e-12}, {DType::f32, 1e-4}})
      check_recurrence_golden("griffin", *make_griffin(golden_config(dtype, device), 1),
                              {.authors_name = authors_name, .our_part = our_part}, device, tolerance);
}

TEST_CASE("griffin: exact parameter counts") {
  CHECK(parameter_count("griffin", "laptop", 205) == 1360896);
  CHECK(parameter_count("griffin", "laptop-3m", 205) == 3076736);
  CHECK(parameter_count("griffin", "hawk-laptop", 205) == 1335424);
}

TEST_CASE("griffin: the decays of the initial values lie between 0.9 and 0.999") {
  GriffinConfig config = golden_config(DType::f64, Device::cpu());
  config.d_recurrent = 512;
  const auto model = make_griffin(config, 3);
  for (const NamedTensor& parameter : model->parameters()) {
    if (!parameter.name.ends_with(".decay")) continue;
    for (const double l : parameter.value.to_vector<double>()) {
      const double decay = std::exp(-std::log1p(std::exp(l)));
      CHECK((decay >= 0.9 && decay <= 0.999));
    }
  }
}

TEST_CASE("griffin: attention sees a window of keys and no more, and keeps no more") {
  GriffinConfig config = golden_config(DType::f64, Device::cpu());
  config.layers = 1;
  config.attention_every = 1;
  config.heads = 2;
  config.window = 3;
  const auto model = make_griffin(config, 1);
  constexpr int64_t kSteps = 8;
  std::vector<int32_t> ids{1, 2, 3, 4, 5, 6, 7, 8};
  const auto logits = [&](State& state) {
    return model->logits(tensor_of<int32_t>({kSteps, 1}, ids), state, {}).to_vector<double>();
  };
  State state, other;
  const std::vector<double> before = logits(state);
  ids[2] = 20;
  const std::vector<double> after = logits(other);
  for (size_t t = 0; t < kSteps; ++t) {
    CAPTURE(t);
    bool equal = true;
    for (size_t v = 0; v < 29; ++v) equal = equal && before[29 * t + v] == after[29 * t + v];
    CHECK(equal == (t < 2 || t > 4));  // those at 2, 3 and 4 see the changed token
  }
  CHECK(part(state, "memory.0").size(0) == 3);
}

TEST_CASE("griffin: errors") {
  const auto error = [](const std::string& fields) {
    return error_of([&] { make_model(R"({"model":"griffin","vocabulary":5,)" + fields + "}", 1); });
  };
  CHECK(contains(error(R"("d":0)"), "griffin: sizes must be positive: vocabulary 5, d 0"));
  CHECK(contains(error(R"("window":0)"), "window 0"));
  CHECK(contains(error(R"("attention_every":-1)"), "attention_every -1"));
  CHECK(error(R"("blocks":7)") == "griffin: blocks must divide d_recurrent: d_recurrent is 256, blocks 7");
  CHECK(error(R"("heads":7)") == "griffin: heads must divide d: d is 256, heads 7");
  CHECK(error(R"("conv_width":1)") == "griffin: conv_width 1; a filter needs at least 2 steps");
  CHECK(error(R"("dropout":1.0)") == "griffin: dropout 1 must be in [0, 1)");
  CHECK(error(R"("attention_dropout":-1.0)") == "griffin: dropout -1 must be in [0, 1)");
  CHECK(contains(error(R"("norm_eps":0.0)"), "norm_eps 0"));
  CHECK(contains(error(R"("layers":0)"), "griffin: 0 layers"));
}

}  // namespace tandem::testing
