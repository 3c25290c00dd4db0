// The language models SHA-RNN and SHAQ: configuration, blocks put together, value gates collapsed.
#include <algorithm>
#include <cmath>

#include "core/array.h"
#include "core/check.h"
#include "models/config_fields.h"
#include "models/layered_model.h"
#include "models/sha_rnn/sha_rnn.h"

namespace tandem {
namespace {

template <class Visitor, class Config>
void visit(Visitor& v, Config& c) {
  visit_tokens(v, c);
  if (c.window > 0) v("window", c.window);
  v("d", c.d);
  v("d_boom", c.d_boom);
  v("layers", c.layers);
  v("attention_blocks", c.attention_blocks);
  v("max_positions", c.max_positions);
  v("dropout", c.dropout);
  v("collapsed_value_gate", c.collapsed_value_gate);
}

const char* kind_of(const ShaRnnConfig& config) {
  return config.window > 0 ? "shaq" : "sha-rnn";
}

}  // namespace

std::string ShaRnnConfig::text() const {
  FieldWriter writer(kind_of(*this));
  visit(writer, *this);
  return writer.text();
}

ShaRnnConfig ShaRnnConfig::from_text(const std::string& text) {
  FieldReader reader("sha-rnn", text);
  ShaRnnConfig config;
  const bool shaq = model_of_config(text) == "shaq";
  if (shaq) config.window = 2;
  visit(reader, config);
  reader.finish();
  CHECK(!shaq || config.window > 0, "shaq: window {} must be 1 or 2", config.window);
  return config;
}

std::unique_ptr<LanguageModel> make_sha_rnn(const ShaRnnConfig& config, uint64_t seed) {
  const char* const kind = kind_of(config);
  CHECK(config.vocabulary > 0 && config.d > 0 && config.layers > 0 && config.max_positions > 0,
        "{}: sizes must be positive: vocabulary {}, d {}, layers {}, positions {}", kind, config.vocabulary,
        config.d, config.layers, config.max_positions);
  CHECK(config.d_boom >= config.d, "{}: the boom's width {} must be d, {}, or more", kind, config.d_boom,
        config.d);
  CHECK(config.attention_blocks >= 0 && config.attention_blocks <= config.layers,
        "{}: attention in {} blocks; the model has {}", kind, config.attention_blocks, config.layers);
  CHECK(config.dropout >= 0 && config.dropout < 1, "{}: dropout {} must be in [0, 1)", kind, config.dropout);

  Random random(seed);
  const Initializer rows = [&random, &config](Shape shape) {
    return normal(random, shape, config.deviation(), config);
  };
  LayeredModel::Parts parts;
  parts.embedding = std::make_unique<TokenEmbedding>(config, config.d, 1, rows);
  for (int64_t i = 0; i < config.layers; ++i)
    parts.layers.push_back(std::make_unique<ShaRnnLayer>(config, i, random));
  parts.output = std::make_unique<TokenOutput>(config, config.d, *parts.embedding, rows);
  parts.vocabulary = config.vocabulary;
  parts.input_dropout = parts.output_dropout = config.dropout;
  parts.config = config.text();
  return std::make_unique<LayeredModel>(std::move(parts));
}

std::unique_ptr<LanguageModel> collapse_value_gates(const LanguageModel& model) {
  ShaRnnConfig config = ShaRnnConfig::from_text(model.config());
  config.device = model.device();
  const std::vector<NamedTensor> parameters = model.parameters();
  const auto find = [&parameters](const std::string& name) {
    const auto found = std::find_if(parameters.begin(), parameters.end(),
                                    [&name](const NamedTensor& x) { return x.name == name; });
    return found == parameters.end() ? Tensor() : found->value;
  };
  std::vector<NamedTensor> values;
  for (const auto& [name, value] : parameters) {
    if (name.ends_with("value_gate.weight") || name.ends_with("value_gate.bias")) continue;
    const bool gate = name.ends_with("value_gate");
    values.push_back(
        {name, gate ? ShaRnnLayer::value_gate(value, find(name + ".weight"), find(name + ".bias")) : value});
  }
  config.collapsed_value_gate = true;
  std::unique_ptr<LanguageModel> collapsed = make_sha_rnn(config, 0);
  collapsed->load(values);
  return collapsed;
}

}  // namespace tandem
