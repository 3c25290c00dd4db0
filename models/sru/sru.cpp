// The SRU layer and its language model.
#include "models/sru/sru.h"

#include <algorithm>
#include <cmath>

#include "core/array.h"
#include "core/check.h"
#include "models/config_fields.h"
#include "models/layered_model.h"
#include "models/layers/initial_values.h"
#include "ops/dropout.h"
#include "ops/linear.h"
#include "ops/sru_scan.h"
#include "ops/support/weight_cache.h"

namespace tandem {
namespace {

template <class Visitor, class Config>
void visit(Visitor& v, Config& c) {
  visit_tokens(v, c);
  v("d", c.d);
  v("d_embedding", c.d_embedding);
  v("d_projected", c.d_projected);
  v("layers", c.layers);
  v("dropout", c.dropout);
  v("highway_bias", c.highway_bias);
  v("rescale", c.rescale);
}

}  // namespace

std::string SruConfig::text() const {
  FieldWriter writer("sru");
  visit(writer, *this);
  return writer.text();
}

SruConfig SruConfig::from_text(const std::string& text) {
  SruConfig config;
  FieldReader reader("sru", text);
  visit(reader, config);
  reader.finish();
  return config;
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
  // Plane by plane, each with its own scale: candidate, forget, reset, skip.
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

Layer::Output SruLayer::forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                                uint32_t site) const {
  const double p = pass.training ? config_.dropout : 0;
  const Tensor u = linear(projection_.defined() ? linear(x, projection_) : x, weight_);
  SruScanOptions options;
  if (config_.rescale) options.rescale = std::sqrt(1 + 2 * std::exp(config_.highway_bias));
  if (p > 0 && !last_)
    options.mask = dropout_mask({x.size(1), config_.d}, p, parameter_dtype(x.dtype()), x.device(),
                                {pass.seed, pass.step, site});
  const SruScanResult scan =
      sru_scan(u, same_width_ ? x : Tensor(), scan_weight_, scan_bias_, part(before, 0), options);
  return {scan.h, {scan.c_last}};
}

std::unique_ptr<LanguageModel> make_sru(const SruConfig& config, uint64_t seed) {
  CHECK(config.vocabulary > 0 && config.d > 0 && config.layers > 0 && config.d_embedding >= 0 &&
            config.d_projected >= 0,
        "sru: sizes must be positive: vocabulary {}, d {}, layers {}, d of the embedding {}, d' {}",
        config.vocabulary, config.d, config.layers, config.d_embedding, config.d_projected);
  CHECK(config.dropout >= 0 && config.dropout < 1, "sru: dropout {} must be in [0, 1)", config.dropout);
  Random random(seed);
  // Standard deviation 1 / sqrt(width) of the rows at both ends.
  const Initializer rows = [&random, &config](Shape shape) {
    return uniform(random, shape, std::sqrt(3.0 / static_cast<double>(shape[1])), config);
  };
  LayeredModel::Parts parts;
  const int64_t e = config.d_embedding > 0 ? config.d_embedding : config.d;
  parts.embedding = std::make_unique<TokenEmbedding>(config, e, 1, rows);
  for (int64_t i = 0; i < config.layers; ++i)
    parts.layers.push_back(std::make_unique<SruLayer>(config, i, random));
  parts.output = std::make_unique<TokenOutput>(config, config.d, *parts.embedding, rows);
  parts.vocabulary = config.vocabulary;
  parts.input_dropout = parts.output_dropout = config.dropout;
  parts.config = config.text();
  return std::make_unique<LayeredModel>(std::move(parts));
}

}  // namespace tandem
