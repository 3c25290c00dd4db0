// The layer of Gated DeltaNet and its language model.
#include "tandem/models/gated_deltanet/gated_deltanet.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/convolution.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/layers/rms_feed_forward.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/cast.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/elementwise.h"
#include "tandem/ops/gated_delta_rule.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/reshape.h"
#include "tandem/ops/rms_norm.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// Scales the vectors of `width` elements that the last axis consists of to the length `length`.
Tensor with_length(const Tensor& x, int64_t width, double length) {
  constexpr double kEps = 1e-6;  // added to the square of the length, as in the authors' code
  const double n = static_cast<double>(width);
  const Tensor y = rms_norm(reshape(x, {x.numel() / width, width}), {}, kEps / n);
  return scale(reshape(y, x.shape()), length / std::sqrt(n));
}

}  // namespace

void GatedDeltaNetConfig::fields(Fields& field) {
  token_fields(field);
  field("d", d);
  field("heads", heads);
  field("d_key", d_key);
  field("d_value", d_value);
  field("d_feed_forward", d_feed_forward);
  field("layers", layers);
  field("conv_width", conv_width);
  field("norm_eps", norm_eps);
  field("dropout", dropout);
}

GatedDeltaLayer::GatedDeltaLayer(const GatedDeltaLayerOptions& options, const TokenConfig& config,
                                 Random& random)
    : options_(options),
      norm_(options.d, options.norm_eps, config),
      head_norm_(options.d_value, options.norm_eps, config) {
  const int64_t d = options.d, heads = options.heads, keys = heads * options.d_key,
                values = heads * options.d_value;
  const auto weight = [this, &random, &config, d](const char* name, int64_t rows) {
    return add_parameter(name, normal(random, {rows, d}, inverse_sqrt(d), config));
  };
  const auto filter = [this, &random, &config, width = options.conv_width](const char* name, int64_t rows) {
    return add_parameter(name, uniform(random, {rows, width}, inverse_sqrt(width), config));
  };
  query_ = weight("query.weight", keys);
  query_filter_ = filter("query.filter", keys);
  key_ = weight("key.weight", keys);
  key_filter_ = filter("key.filter", keys);
  value_ = weight("value.weight", values);
  value_filter_ = filter("value.filter", values);
  decay_ = weight("decay.weight", heads);
  // The logarithm of softplus(dt) is uniform between those of 0.001 and 0.1, and e^A is uniform between 0.01 and 16.
  decay_bias_ =
      add_parameter("decay.bias", uniform_through([](double x) { return std::log(std::expm1(std::exp(x))); },
                                                  random, heads, std::log(1e-3), std::log(0.1), config));
  decay_rate_ = add_parameter(
      "decay.rate", uniform_through([](double x) { return std::log(x); }, random, heads, 0.01, 16, config));
  beta_ = weight("beta.weight", heads);
  gate_ = weight("gate.weight", values);
  output_ = add_parameter("output.weight", normal(random, {d, values}, options.output_deviation, config));
  add_child("norm", norm_);
  add_child("head_norm", head_norm_);
}

Layer::Output GatedDeltaLayer::forward(const Tensor& x, const LayerState& before,
                                       const ForwardOptions& options, uint32_t site) const {
  const Tensor n = norm_(x);
  Output out{{}, {Tensor()}};
  // Filters a projection, and appends what the filter needs in the next segment to the state.
  const auto filtered_part = [&n, &before, &out](const Tensor& weight, const Tensor& filter) {
    Tensor prefix = part(before, out.state.size());
    const Tensor y = filtered_next(linear(n, weight), filter, prefix);
    out.state.push_back(prefix);
    return silu(y);
  };
  const int64_t d_key = options_.d_key, d_value = options_.d_value;
  const Tensor q = with_length(filtered_part(query_, query_filter_), d_key, inverse_sqrt(d_key));
  const Tensor k = with_length(filtered_part(key_, key_filter_), d_key, 1);
  const Tensor v = filtered_part(value_, value_filter_);
  const DType exact = parameter_dtype(x.dtype());  // sums of decays are kept in f32
  const Tensor beta = sigmoid(cast(linear(n, beta_), exact));
  const Tensor log_decay = softplus(cast(linear(n, decay_), exact) + decay_bias_) * -exp(decay_rate_);
  const GatedDeltaResult rule = gated_delta_rule(q, k, v, log_decay, beta, part(before, 0));
  out.state[0] = rule.state;
  const Tensor normed = reshape(head_norm_(reshape(rule.o, {v.numel() / d_value, d_value})), v.shape());
  const Tensor y = linear(normed * silu(linear(n, gate_)), output_);
  const double p = options.training ? options_.dropout : 0;
  out.h = x + dropout(y, p, {options.seed, options.step, site});
  return out;
}

double GatedDeltaLayer::forward_flops(int64_t steps, int64_t) const {
  double weights = 0;
  for (const Tensor& w :
       {query_, key_, value_, query_filter_, key_filter_, value_filter_, decay_, beta_, gate_, output_})
    weights += static_cast<double>(w.numel());
  // The state meets the key, the query and the correction; within a chunk steps meet half of the others, the
  // products of keys, of queries and keys, the system and the attended corrections.
  const double chunk = static_cast<double>(std::min(steps, kDeltaChunk)),
               keys = static_cast<double>(options_.d_key), values = static_cast<double>(options_.d_value);
  return 2 * weights +
         2 * static_cast<double>(options_.heads) * (3 * keys * values + chunk * (keys + values));
}

std::unique_ptr<LanguageModel> make_gated_deltanet(const GatedDeltaNetConfig& config, uint64_t seed) {
  TANDEM_CHECK(config.vocabulary > 0 && config.d > 0 && config.heads > 0 && config.d_key > 0 &&
                   config.d_value > 0 && config.d_feed_forward > 0,
               "gated-deltanet: sizes must be positive: vocabulary {}, d {}, heads {}, d_key {}, d_value {}, "
               "d_feed_forward {}",
               config.vocabulary, config.d, config.heads, config.d_key, config.d_value,
               config.d_feed_forward);
  check_layer_count("gated-deltanet", config.layers);
  TANDEM_CHECK(config.conv_width >= 2, "gated-deltanet: conv_width {}; a filter needs at least 2 steps",
               config.conv_width);
  TANDEM_CHECK(config.norm_eps > 0, "gated-deltanet: norm_eps {} must be positive", config.norm_eps);
  TANDEM_CHECK(config.dropout >= 0 && config.dropout < 1, "gated-deltanet: dropout {} must be in [0, 1)",
               config.dropout);
  Random random(seed);
  const double depth = std::sqrt(2.0 / static_cast<double>(config.layers));
  GatedDeltaLayerOptions layer;
  layer.d = config.d;
  layer.heads = config.heads;
  layer.d_key = config.d_key;
  layer.d_value = config.d_value;
  layer.conv_width = config.conv_width;
  layer.norm_eps = config.norm_eps;
  layer.output_deviation = depth * inverse_sqrt(config.heads * config.d_value);
  layer.dropout = config.dropout;

  RmsFeedForwardConfig feed_forward;
  feed_forward.d = config.d;
  feed_forward.inner = config.d_feed_forward;
  feed_forward.activation = Activation::silu;
  feed_forward.gated = true;
  feed_forward.bias = false;
  feed_forward.norm_eps = config.norm_eps;
  feed_forward.dropout = config.dropout;
  feed_forward.output_deviation = depth * inverse_sqrt(config.d_feed_forward);

  const Initializer rows = [&random, &config](Shape shape) {
    return normal(random, shape, inverse_sqrt(shape[1]), config);
  };
  const FrameConfig frame = {.input_width = config.d,
                             .output_width = config.d,
                             .output_bias = false,
                             .input_dropout = config.dropout};
  const auto add_layers = [&config, &random, &layer, &feed_forward](Layers& layers) {
    for (int64_t i = 0; i < config.layers; ++i) {
      layers.push_back(std::make_unique<GatedDeltaLayer>(layer, config, random));
      layers.push_back(std::make_unique<RmsFeedForward>(feed_forward, config, random));
    }
    layers.push_back(std::make_unique<RmsNormLayer>(config.d, config.norm_eps, config));
  };
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, add_layers);
}

}  // namespace tandem
