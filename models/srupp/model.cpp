// The SRU++ language model: its configuration, and the stack of layers.
#include <cmath>

#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/srupp/srupp.h"

namespace tandem {

void SruppConfig::fields(Fields& field) {
  token_fields(field);
  field("d", d);
  field("d_projected", d_projected);
  field("layers", layers);
  field("heads", heads);
  field("attention_every", attention_every);
  field("attention_last", attention_last);
  field("dropout", dropout);
  field("attention_dropout", attention_dropout);
  field("highway_bias", highway_bias);
  field("conv_width", conv_width);
  field("short_conv_width", short_conv_width);
  field("alpha", alpha);
  field("initial_rows", initial_rows);
}

std::unique_ptr<LanguageModel> make_srupp(const SruppConfig& config, uint64_t seed) {
  TANDEM_CHECK(config.vocabulary > 0 && config.d > 0 && config.d_projected > 0 && config.layers > 0 &&
                   config.heads > 0,
               "srupp: sizes must be positive: vocabulary {}, d {}, d' {}, layers {}, heads {}",
               config.vocabulary, config.d, config.d_projected, config.layers, config.heads);
  check_layer_count("srupp", config.layers);
  TANDEM_CHECK(config.d_projected % config.heads == 0, "srupp: heads must divide d': d' is {}, heads {}",
               config.d_projected, config.heads);
  TANDEM_CHECK(
      config.attention_every >= 0 && config.attention_last >= 0 && config.attention_last <= config.layers,
      "srupp: attention every {} layers, in the last {}; the model has {} layers", config.attention_every,
      config.attention_last, config.layers);
  TANDEM_CHECK(config.attention_every == 0 || config.attention_last == 0,
               "srupp: attention every {} layers and in the last {}: give one of the two, the other as 0",
               config.attention_every, config.attention_last);
  TANDEM_CHECK(std::isfinite(config.alpha) && std::isfinite(config.highway_bias),
               "srupp: alpha starts at {} and the bias of the highway at {}; give finite numbers",
               config.alpha, config.highway_bias);
  TANDEM_CHECK(config.initial_rows == "width" || config.initial_rows == "vocabulary",
               "srupp: initial_rows is \"{}\"; use width or vocabulary", config.initial_rows);
  TANDEM_CHECK(config.conv_width >= 0, "srupp: filters of width {}; give 0 for none", config.conv_width);
  TANDEM_CHECK(config.short_conv_width == 0 || config.short_conv_width >= 2,
               "srupp: short_conv_width {}; a filter needs at least 2 steps, and 0 leaves it out",
               config.short_conv_width);
  TANDEM_CHECK(config.dropout >= 0 && config.dropout < 1 && config.attention_dropout >= 0 &&
                   config.attention_dropout < 1,
               "srupp: dropout {} and attention dropout {} must be in [0, 1)", config.dropout,
               config.attention_dropout);

  Random random(seed);
  // Rows have one standard deviation in all clusters, whatever their width, as in the authors' code.
  const int64_t entries = config.initial_rows == "vocabulary" ? config.vocabulary : config.d;
  const TokenInitializers values(
      [&random, &config, entries](Shape shape) {
        return uniform(random, shape, std::sqrt(3.0 / static_cast<double>(entries)), config);
      },
      [&random, &config](Shape shape) { return xavier_uniform(random, shape, config); });
  const FrameConfig frame = {.input_width = config.d,
                             .output_width = config.d,
                             .input_dropout = config.dropout,
                             .output_dropout = config.dropout};
  const auto add_layers = [&config, &random](Layers& layers) {
    for (int64_t i = 0; i < config.layers; ++i)
      layers.push_back(std::make_unique<SruppLayer>(config, i, random));
  };
  return std::make_unique<LayeredModel>(config, config.text(), frame, values, add_layers);
}

}  // namespace tandem
