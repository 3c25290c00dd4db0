// The RG-LRU's layer and the language models Griffin and Hawk.
#include "tandem/models/griffin/griffin.h"

#include <cmath>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/convolution.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/layers/rms_feed_forward.h"
#include "tandem/models/layers/self_attention.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/block_linear.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/elementwise.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/linear_scan.h"

namespace tandem {
namespace {

// Returns the L for which e^(-softplus(L)), whose power 8 r is the decay a, is the root of `square`.
double decay_of_square(double square) {
  return std::log(std::exp(-0.5 * std::log(square)) - 1);
}

}  // namespace

void GriffinConfig::fields(Fields& field) {
  token_fields(field);
  field("d", d);
  field("d_recurrent", d_recurrent);
  field("d_feed_forward", d_feed_forward);
  field("layers", layers);
  field("blocks", blocks);
  field("attention_every", attention_every);
  field("heads", heads);
  field("window", window);
  field("conv_width", conv_width);
  field("scaled_embedding", scaled_embedding);
  field("norm_eps", norm_eps);
  field("dropout", dropout);
  field("attention_dropout", attention_dropout);
}

RgLruLayer::RgLruLayer(const RgLruLayerOptions& options, const TokenConfig& config, Random& random)
    : dropout_(options.dropout), norm_(options.d, options.norm_eps, config) {
  const int64_t d = options.d, n = options.d_recurrent, width = n / options.blocks;
  const auto weight = [this, &random, &config](const char* name, Shape shape, double deviation) {
    return add_parameter(name, normal(random, shape, deviation, config));
  };
  const auto bias = [this, &config](const char* name, int64_t size) {
    return add_parameter(name, zeros({size}, config.dtype, config.device));
  };
  const Shape gate{options.blocks, width, width};
  branch_ = weight("branch.weight", {n, d}, inverse_sqrt(d));
  branch_bias_ = bias("branch.bias", n);
  input_ = weight("input.weight", {n, d}, inverse_sqrt(d));
  input_bias_ = bias("input.bias", n);
  filter_ = weight("conv.filter", {n, options.conv_width}, 0.1 * inverse_sqrt(options.conv_width));
  filter_bias_ = bias("conv.bias", n);
  // The squares are uniform, as those of the radii of points that are uniform in a ring.
  decay_ =
      add_parameter("decay", uniform_through(decay_of_square, random, n, 0.9 * 0.9, 0.999 * 0.999, config));
  decay_gate_ = weight("decay_gate.weight", gate, inverse_sqrt(width));
  decay_gate_bias_ = bias("decay_gate.bias", n);
  input_gate_ = weight("input_gate.weight", gate, inverse_sqrt(width));
  input_gate_bias_ = bias("input_gate.bias", n);
  output_ = weight("output.weight", {d, n}, options.output_deviation);
  output_bias_ = bias("output.bias", d);
  add_child("norm", norm_);
}

Layer::Output RgLruLayer::forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                                  uint32_t site) const {
  const Tensor n = norm_(x);
  const Tensor branch = gelu(linear(n, branch_, branch_bias_), Gelu::tanh);
  Tensor prefix = part(before, 1);
  const Tensor u = filtered_next(linear(n, input_, input_bias_), filter_, prefix, filter_bias_);
  const Tensor r = sigmoid(block_linear(u, decay_gate_) + decay_gate_bias_);
  const Tensor i = sigmoid(block_linear(u, input_gate_) + input_gate_bias_);
  const LinearScanResult scan =
      linear_scan(r * (softplus(decay_) * -8.0), i * u, part(before, 0), ScanForm::rg_lru);
  const Tensor y = linear(scan.h * branch, output_, output_bias_);
  const double p = options.training ? dropout_ : 0;
  return {x + dropout(y, p, {options.seed, options.step, site}), {scan.h_last, prefix}};
}

double RgLruLayer::forward_flops(int64_t, int64_t) const {
  double weights = 0;
  for (const Tensor& w : {branch_, input_, filter_, decay_gate_, input_gate_, output_})
    weights += static_cast<double>(w.numel());
  return 2 * weights;
}

namespace {

void check(const GriffinConfig& config) {
  TANDEM_CHECK(config.vocabulary > 0 && config.d > 0 && config.d_recurrent > 0 && config.d_feed_forward > 0 &&
                   config.blocks > 0 && config.heads > 0 && config.window > 0 && config.attention_every >= 0,
               "griffin: sizes must be positive: vocabulary {}, d {}, d_recurrent {}, d_feed_forward {}, "
               "blocks {}, heads {}, window {}, attention_every {}",
               config.vocabulary, config.d, config.d_recurrent, config.d_feed_forward, config.blocks,
               config.heads, config.window, config.attention_every);
  check_layer_count("griffin", config.layers);
  TANDEM_CHECK(config.conv_width >= 2, "griffin: conv_width {}; a filter needs at least 2 steps",
               config.conv_width);
  TANDEM_CHECK(config.d_recurrent % config.blocks == 0,
               "griffin: blocks must divide d_recurrent: d_recurrent is {}, blocks {}", config.d_recurrent,
               config.blocks);
  TANDEM_CHECK(config.attention_every == 0 || config.d % config.heads == 0,
               "griffin: heads must divide d: d is {}, heads {}", config.d, config.heads);
  TANDEM_CHECK(config.norm_eps > 0, "griffin: norm_eps {} must be positive", config.norm_eps);
  for (const double p : {config.dropout, config.attention_dropout})
    TANDEM_CHECK(p >= 0 && p < 1, "griffin: dropout {} must be in [0, 1)", p);
}

}  // namespace

std::unique_ptr<LanguageModel> make_griffin(const GriffinConfig& config, uint64_t seed) {
  check(config);
  constexpr double kAttentionDeviation = 0.02;  // Transformer-XL's
  Random random(seed);
  InitialValues attention_values(config, kAttentionDeviation, seed + 1);
  const double depth =
      std::sqrt(2.0 / static_cast<double>(config.layers));  // the last matrices start smaller

  RgLruLayerOptions recurrence;
  recurrence.d = config.d;
  recurrence.d_recurrent = config.d_recurrent;
  recurrence.blocks = config.blocks;
  recurrence.conv_width = config.conv_width;
  recurrence.norm_eps = config.norm_eps;
  recurrence.output_deviation = depth * inverse_sqrt(config.d_recurrent);
  recurrence.dropout = config.dropout;

  SelfAttentionConfig attention;
  attention.d = config.d;
  attention.heads = config.heads;
  attention.d_head = config.d / config.heads;
  attention.window = config.window;
  attention.attention_dropout = config.attention_dropout;
  attention.residual.dropout = config.dropout;
  const auto sinusoids = config.attention_every > 0 ? std::make_shared<const Sinusoids>(config.d) : nullptr;

  RmsFeedForwardConfig feed_forward;
  feed_forward.d = config.d;
  feed_forward.inner = config.d_feed_forward;
  feed_forward.activation = Activation::gelu_tanh;
  feed_forward.gated = true;
  feed_forward.norm_eps = config.norm_eps;
  feed_forward.dropout = config.dropout;
  feed_forward.output_deviation = depth * inverse_sqrt(config.d_feed_forward);

  const Initializer rows = [&random, &config](Shape shape) {
    return normal(random, shape, inverse_sqrt(shape[1]), config);
  };
  const FrameConfig frame = {
      .input_width = config.d,
      .output_width = config.d,
      .embedding_scale = config.scaled_embedding ? std::sqrt(static_cast<double>(config.d)) : 1,
      .output_bias = false,
      .input_dropout = config.dropout};
  const auto add_layers = [&config, &random, &recurrence, &attention, &attention_values, &sinusoids,
                           &feed_forward](Layers& layers) {
    for (int64_t i = 0; i < config.layers; ++i) {
      if (config.attends(i))
        layers.push_back(std::make_unique<SelfAttention>(attention, sinusoids, attention_values));
      else
        layers.push_back(std::make_unique<RgLruLayer>(recurrence, config, random));
      layers.push_back(std::make_unique<RmsFeedForward>(feed_forward, config, random));
    }
    layers.push_back(std::make_unique<RmsNormLayer>(config.d, config.norm_eps, config));
  };
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, add_layers);
}

}  // namespace tandem
