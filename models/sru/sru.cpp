// The SRU layer and its language model.
#include "tandem/models/sru/sru.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/sru_scan.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {

void SruConfig::fields(Fields& field) {
  token_fields(field);
  field("d", d);
  field("d_embedding", d_embedding);
  field("d_projected", d_projected);
  field("layers", layers);
  field("dropout", dropout);
  field("highway_bias", highway_bias);
  field("rescale", rescale);
}

SruLayer::SruLayer(const SruConfig& config, int64_t layer, Random& random)
    : config_(config), last_(layer + 1 == config.layers) {
  const int64_t d = config.d;
  const int64_t in = layer == 0 && config.d_embedding > 0 ? config.d_embedding : d;
  same_width_ = in == d;
  const auto bound = [](int64_t width) { return std::sqrt(3.0 / static_cast<double>(width)); };
  const bool projected = config.d_projected > 0 && config.d_projected < std::min(in, d);
  if (projected)
    projection_ =
        add_parameter("projection.weight", uniform(random, {config.d_projected, in}, bound(in), config));
  const int64_t from = projected ? config.d_projected : in;
  // Scales of the planes: candidate, forget, reset, skip.
  const double scales[] = {std::sqrt(1 - config.dropout), std::sqrt(0.5), std::sqrt(0.5), 1.0};
  const int64_t planes = same_width_ ? 3 : 4;
  weight_ = Tensor({planes * d, from}, config.dtype, config.device);
  for (int64_t m = 0; m < planes; ++m)
    random.fill_uniform(weight_.view_rows(m * d, (m + 1) * d), -bound(from) * scales[m],
                        bound(from) * scales[m]);
  add_parameter("weight", weight_);
  scan_weight_ =
      add_parameter("scan.weight", uniform(random, {2 * d}, std::sqrt(3.0) * std::sqrt(0.5), config));
  scan_bias_ = add_parameter("scan.bias", zeros({2 * d}, config.dtype, config.device));
  fill(scan_bias_.view_rows(d, 2 * d), config.highway_bias);
}

Layer::Output SruLayer::forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                                uint32_t site) const {
  const double p = options.training ? config_.dropout : 0;
  const Tensor u = linear(projection_.defined() ? linear(x, projection_) : x, weight_);
  SruScanOptions scan;
  if (config_.rescale) scan.rescale = std::sqrt(1 + 2 * std::exp(config_.highway_bias));
  if (p > 0 && !last_)
    scan.mask = dropout_mask({x.size(1), config_.d}, p, parameter_dtype(x.dtype()), x.device(),
                             {options.seed, options.step, site});
  const SruScanResult result =
      sru_scan(u, same_width_ ? x : Tensor(), scan_weight_, scan_bias_, part(before, 0), scan);
  return {result.h, {result.c_last}};
}

std::unique_ptr<LanguageModel> make_sru(const SruConfig& config, uint64_t seed) {
  TANDEM_CHECK(config.vocabulary > 0 && config.d > 0 && config.layers > 0 && config.d_embedding >= 0 &&
                   config.d_projected >= 0,
               "sru: sizes must be positive: vocabulary {}, d {}, layers {}, d of the embedding {}, d' {}",
               config.vocabulary, config.d, config.layers, config.d_embedding, config.d_projected);
  check_layer_count("sru", config.layers);
  TANDEM_CHECK(config.dropout >= 0 && config.dropout < 1, "sru: dropout {} must be in [0, 1)",
               config.dropout);
  Random random(seed);
  // Embedding and output rows have standard deviation 1 / sqrt(width).
  const Initializer rows = [&random, &config](Shape shape) {
    return uniform(random, shape, std::sqrt(3.0 / static_cast<double>(shape[1])), config);
  };
  const FrameConfig frame = {.input_width = config.d_embedding > 0 ? config.d_embedding : config.d,
                             .output_width = config.d,
                             .input_dropout = config.dropout,
                             .output_dropout = config.dropout};
  const auto add_layers = [&config, &random](Layers& layers) {
    for (int64_t i = 0; i < config.layers; ++i)
      layers.push_back(std::make_unique<SruLayer>(config, i, random));
  };
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, add_layers);
}

}  // namespace tandem
