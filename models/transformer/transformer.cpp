// A transformer, put together from its sub-layers.
#include "tandem/models/transformer/transformer.h"

#include <fmt/format.h>

#include <cmath>
#include <map>

#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/feed_forward.h"
#include "tandem/models/layers/self_attention.h"

namespace tandem {
namespace {

// Returns what a word of the configuration stands for. Error: an unknown word; the known ones are listed.
template <class T>
T meaning(const char* field, const std::string& word, const std::map<std::string, T>& known) {
  const auto found = known.find(word);
  if (found != known.end()) return found->second;
  std::vector<std::string> words;
  for (const auto& entry : known) words.push_back(entry.first);
  detail::fail("transformer: {} \"{}\" is not known; there are {}", field, word, fmt::join(words, ", "));
}

struct NormPlacements {
  NormPlacement attention, feed_forward;
};

void check(const TransformerConfig& c) {
  TANDEM_CHECK(
      c.vocabulary > 0 && c.layers > 0 && c.d > 0 && c.heads > 0 && c.d_head > 0 && c.d_inner > 0,
      "{}: sizes must be positive: vocabulary {}, layers {}, d {}, heads {} of width {}, inner width {}",
      c.model, c.vocabulary, c.layers, c.d, c.heads, c.d_head, c.d_inner);
  check_layer_count(c.model, c.layers);
  for (const auto& [name, p] : {std::pair{"dropout", c.dropout},
                                {"attention dropout", c.attention_dropout},
                                {"inner dropout", c.inner_dropout},
                                {"output dropout", c.output_dropout}})
    TANDEM_CHECK(p >= 0 && p < 1, "{}: {} {} must be in [0, 1)", c.model, name, p);
  TANDEM_CHECK(c.frequencies.empty() || static_cast<int64_t>(2 * c.frequencies.size()) == c.d,
               "{}: {} frequencies of sinusoids, but d is {}; give half as many", c.model,
               c.frequencies.size(), c.d);
  TANDEM_CHECK(c.init_std >= 0 && c.norm_eps > 0,
               "{}: init_std {} must not be negative, norm_eps {} be positive", c.model, c.init_std,
               c.norm_eps);
}

}  // namespace

std::unique_ptr<LanguageModel> make_transformer(const TransformerConfig& config, uint64_t seed) {
  check(config);
  const bool relative =
      meaning<bool>("positions", config.positions, {{"relative", true}, {"absolute", false}});
  const auto norm = meaning<NormPlacements>("norm", config.norm,
                                            {{"before", {NormPlacement::before, NormPlacement::before}},
                                             {"after", {NormPlacement::after, NormPlacement::after}},
                                             {"primer", {NormPlacement::before, NormPlacement::inside}}});
  const SelfAttentionConfig attention = {
      .d = config.d,
      .heads = config.heads,
      .d_head = config.d_head,
      .relative = relative,
      .bias = config.attention_bias,
      .conv_width = config.conv_width,
      .shared_qk = config.shared_qk,
      .attention_dropout = config.attention_dropout,
      .residual = {.norm = norm.attention, .eps = config.norm_eps, .dropout = config.dropout}};
  const FeedForwardConfig feed_forward = {
      .d = config.d,
      .inner = config.d_inner,
      .activation = meaning<Activation>("activation", config.activation,
                                        {{"relu", Activation::relu},
                                         {"squared_relu", Activation::squared_relu},
                                         {"gelu", Activation::gelu_erf},
                                         {"silu", Activation::silu}}),
      .inner_dropout = config.inner_dropout,
      .residual = {.norm = norm.feed_forward, .eps = config.norm_eps, .dropout = config.dropout}};

  InitialValues values(config, config.init_std, seed);
  const Initializer rows = [&values](Shape shape) { return values.embedding(shape); };
  const auto sinusoids = config.frequencies.empty() ? std::make_shared<const Sinusoids>(config.d)
                                                    : std::make_shared<const Sinusoids>(config.frequencies);
  const FrameConfig frame = {
      .input_width = config.d,
      .output_width = config.d,
      .embedding_scale = std::sqrt(static_cast<double>(config.d)),
      .output_bias = config.output_bias,
      .input_dropout = relative ? config.dropout : 0,  // PositionLayer drops after it has added positions
      .output_dropout = config.output_dropout};
  const auto add_layers = [&config, relative, &attention, &feed_forward, &sinusoids,
                           &values](Layers& layers) {
    if (!relative) layers.push_back(std::make_unique<PositionLayer>(config.d, config.dropout));
    const SelfAttention* first = nullptr;
    for (int64_t i = 0; i < config.layers; ++i) {
      auto layer = std::make_unique<SelfAttention>(attention, sinusoids, values, first);
      if (config.shared_position_bias && !first) first = layer.get();
      layers.push_back(std::move(layer));
      layers.push_back(std::make_unique<FeedForward>(feed_forward, values));
    }
    if (config.final_norm) layers.push_back(std::make_unique<NormLayer>(config.d, config.norm_eps, values));
  };
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, add_layers);
}

}  // namespace tandem
