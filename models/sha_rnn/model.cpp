// The language models SHA-RNN and SHAQ: configuration, stack of blocks, collapsing of value gates.
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/sha_rnn/sha_rnn.h"
#include "tandem/models/tensor_index.h"

namespace tandem {

ShaRnnConfig ShaRnnConfig::of(const std::string& model) {
  ShaRnnConfig config;
  if (model == "shaq") config.window = 2;
  return config;
}

void ShaRnnConfig::fields(Fields& field) {
  token_fields(field);
  if (window > 0) {
    field("window", window);
    TANDEM_CHECK(window > 0, "shaq: window {} must be 1 or 2", window);
  }
  field("d", d);
  field("d_boom", d_boom);
  field("layers", layers);
  field("attention_blocks", attention_blocks);
  field("max_positions", max_positions);
  field("dropout", dropout);
  field("collapsed_value_gate", collapsed_value_gate);
}

std::unique_ptr<LanguageModel> make_sha_rnn(const ShaRnnConfig& config, uint64_t seed) {
  const std::string name = config.model_name();
  TANDEM_CHECK(config.vocabulary > 0 && config.d > 0 && config.layers > 0 && config.max_positions > 0,
               "{}: sizes must be positive: vocabulary {}, d {}, layers {}, positions {}", name,
               config.vocabulary, config.d, config.layers, config.max_positions);
  check_layer_count(name, config.layers);
  TANDEM_CHECK(config.d_boom >= config.d, "{}: the boom's width {} must be d, {}, or more", name,
               config.d_boom, config.d);
  TANDEM_CHECK(config.attention_blocks >= 0 && config.attention_blocks <= config.layers,
               "{}: attention in {} blocks; the model has {}", name, config.attention_blocks, config.layers);
  TANDEM_CHECK(config.dropout >= 0 && config.dropout < 1, "{}: dropout {} must be in [0, 1)", name,
               config.dropout);

  Random random(seed);
  const Initializer rows = [&random, &config](Shape shape) {
    return normal(random, shape, config.deviation(), config);
  };
  const FrameConfig frame = {.input_width = config.d,
                             .output_width = config.d,
                             .input_dropout = config.dropout,
                             .output_dropout = config.dropout};
  const auto add_layers = [&config, &random](Layers& layers) {
    for (int64_t i = 0; i < config.layers; ++i)
      layers.push_back(std::make_unique<ShaRnnLayer>(config, i, random));
  };
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, add_layers);
}

std::unique_ptr<LanguageModel> collapse_value_gates(const LanguageModel& model) {
  ShaRnnConfig config = ShaRnnConfig::from_text(model.config());
  config.device = model.device();
  const std::vector<NamedTensor> parameters = model.parameters();
  const TensorIndex index(parameters, "sha-rnn");
  std::vector<NamedTensor> values;
  for (const auto& [name, value] : parameters) {
    if (name.ends_with("value_gate.weight") || name.ends_with("value_gate.bias")) continue;
    if (name.ends_with("value_gate"))
      values.push_back(
          {name, ShaRnnLayer::value_gate(value, index.find(name + ".weight"), index.find(name + ".bias"))});
    else
      values.push_back({name, value});
  }
  config.collapsed_value_gate = true;
  std::unique_ptr<LanguageModel> collapsed = make_sha_rnn(config, 0);
  collapsed->load(values);
  return collapsed;
}

}  // namespace tandem
