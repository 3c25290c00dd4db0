// The minGRU layer and its language model.
#include "tandem/models/min_gru/min_gru.h"

#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/convolution.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/layers/rms_feed_forward.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/linear_scan.h"

namespace tandem {
namespace {

// Dropout sites of a layer.
enum Site : uint32_t { kConv, kRecurrence };

}  // namespace

void MinGruConfig::fields(Fields& field) {
  token_fields(field);
  field("d", d);
  field("d_inner", d_inner);
  field("d_feed_forward", d_feed_forward);
  field("layers", layers);
  field("conv_width", conv_width);
  field("norm_eps", norm_eps);
  field("dropout", dropout);
}

MinGruLayer::MinGruLayer(const MinGruLayerOptions& options, const TokenConfig& config, Random& random)
    : dropout_(options.dropout), norm_(options.d, options.norm_eps, config) {
  const int64_t d = options.d, inner = options.d_inner, width = options.conv_width;
  // PyTorch's initial values: uniform within 1 / sqrt(number of inputs of an output).
  const auto add = [this, &random, &config](const char* name, Shape shape, int64_t inputs) {
    return add_parameter(name, uniform(random, shape, inverse_sqrt(inputs), config));
  };
  if (width > 0) {
    filter_ = add("conv.filter", {d, width}, width);
    filter_bias_ = add("conv.bias", {d}, width);
    mix_ = add("conv.mix.weight", {d, d}, d);
    mix_bias_ = add("conv.mix.bias", {d}, d);
  }
  gate_ = add("gate.weight", {inner, d}, d);
  candidate_ = add("candidate.weight", {inner, d}, d);
  output_ = add("output.weight", {d, inner}, inner);
  add_child("norm", norm_);
}

std::vector<std::string> MinGruLayer::state_names() const {
  if (filter_.defined()) return {"h", "x"};
  return {"h"};
}

Layer::Output MinGruLayer::forward(const Tensor& input, const LayerState& before,
                                   const ForwardOptions& options, uint32_t site) const {
  const double p = options.training ? dropout_ : 0;
  const auto plus = [&options, p, site](const Tensor& x, const Tensor& y, uint32_t part_site) {
    return x + dropout(y, p, {options.seed, options.step, site + part_site});
  };
  Tensor x = input, prefix;
  if (filter_.defined()) {
    prefix = part(before, 1);
    x = plus(x, linear(filtered_next(x, filter_, prefix, filter_bias_), mix_, mix_bias_), kConv);
  }
  const Tensor normed = norm_(x);
  const LinearScanResult scan =
      linear_scan(linear(normed, gate_), linear(normed, candidate_), part(before, 0), ScanForm::min_gru);
  x = plus(x, linear(scan.h, output_), kRecurrence);
  if (!filter_.defined()) return {x, {scan.h_last}};
  return {x, {scan.h_last, prefix}};
}

double MinGruLayer::forward_flops(int64_t, int64_t) const {
  double weights = 0;
  for (const Tensor& w : {filter_, mix_, gate_, candidate_, output_})
    if (w.defined()) weights += static_cast<double>(w.numel());
  return 2 * weights;
}

std::unique_ptr<LanguageModel> make_min_gru(const MinGruConfig& config, uint64_t seed) {
  TANDEM_CHECK(config.vocabulary > 0 && config.d > 0 && config.d_inner > 0 && config.d_feed_forward > 0 &&
                   config.layers > 0 && config.conv_width >= 0,
               "min-gru: sizes must be positive: vocabulary {}, d {}, d_inner {}, d_feed_forward {}, layers "
               "{}, conv_width {}",
               config.vocabulary, config.d, config.d_inner, config.d_feed_forward, config.layers,
               config.conv_width);
  TANDEM_CHECK(config.conv_width != 1,
               "min-gru: conv_width 1; a filter needs at least 2 steps, and 0 leaves it out");
  TANDEM_CHECK(config.norm_eps > 0, "min-gru: norm_eps {} must be positive", config.norm_eps);
  TANDEM_CHECK(config.dropout >= 0 && config.dropout < 1, "min-gru: dropout {} must be in [0, 1)",
               config.dropout);
  check_layer_count("min-gru", config.layers);
  Random random(seed);
  const Initializer rows = [&random, &config](Shape shape) {
    return normal(random, shape, inverse_sqrt(shape[1]), config);
  };
  const FrameConfig frame = {.input_width = config.d,
                             .output_width = config.d,
                             .output_bias = false,
                             .input_dropout = config.dropout};
  const MinGruLayerOptions layer = {.d = config.d,
                                    .d_inner = config.d_inner,
                                    .conv_width = config.conv_width,
                                    .norm_eps = config.norm_eps,
                                    .dropout = config.dropout};
  RmsFeedForwardConfig feed_forward;
  feed_forward.d = config.d;
  feed_forward.inner = config.d_feed_forward;
  feed_forward.norm_eps = config.norm_eps;
  feed_forward.dropout = config.dropout;
  const auto add_layers = [&config, &random, &layer, &feed_forward](Layers& layers) {
    for (int64_t i = 0; i < config.layers; ++i) {
      layers.push_back(std::make_unique<MinGruLayer>(layer, config, random));
      layers.push_back(std::make_unique<RmsFeedForward>(feed_forward, config, random));
    }
    layers.push_back(std::make_unique<RmsNormLayer>(config.d, config.norm_eps, config));
  };
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, add_layers);
}

}  // namespace tandem
