// The SRU++ layer and its language model.
#include "models/srupp.h"

#include <cmath>

#include "core/array.h"
#include "core/check.h"
#include "models/recurrent_model.h"
#include "ops/attention.h"
#include "ops/concat.h"
#include "ops/dropout.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/sru_scan.h"
#include "ops/weights.h"

namespace tandem {
namespace {

// Dropout sites of a layer, after its first.
enum Site : uint32_t { kHighway, kAttention, kBeforeOutput };

Tensor uniform(Random& random, Shape shape, double bound, const SruppConfig& config) {
  Tensor w(shape, config.dtype, config.device);
  random.fill_uniform(w, -bound, bound);
  return w;
}

// Xavier: variance 2 / (in + out) of a weight (out, in).
double xavier(int64_t out, int64_t in) {
  return std::sqrt(6.0 / static_cast<double>(in + out));
}

}  // namespace

SruppLayer::SruppLayer(const SruppConfig& config, int64_t layer, Random& random)
    : config_(config), attends_(config.attends(layer)), last_(layer + 1 == config.layers) {
  const int64_t d = config.d;
  const int64_t p = config.d_projected;
  query_ = add_parameter("query.weight", uniform(random, {p, d}, xavier(p, d), config));
  if (attends_) {
    key_value_ = add_parameter("key_value.weight", uniform(random, {2 * p, p}, xavier(2 * p, p), config));
    alpha_ = add_parameter("alpha", zeros({1}, config.dtype, config.device));
  }
  gain_ = add_parameter("norm.gain", full({p}, 1, config.dtype, config.device));
  bias_ = add_parameter("norm.bias", zeros({p}, config.dtype, config.device));
  // The factor keeps the variance of U what it would be without the dropout before W_o.
  output_ = add_parameter(
      "output.weight", uniform(random, {3 * d, p}, xavier(3 * d, p) * std::sqrt(1 - config.dropout), config));
  scan_weight_ = add_parameter("scan.weight", uniform(random, {2 * d}, 1, config));
  scan_bias_ = add_parameter("scan.bias", zeros({2 * d}, config.dtype, config.device));
  fill(scan_bias_.alias_rows(d, 2 * d),
       config.highway_bias);  // resets start nearly closed: the skip dominates
}

// With the dropout before W_o.
Tensor SruppLayer::normalize(const Tensor& q, const Tensor& attended, const Pass& pass, uint32_t site) const {
  LayerNormOptions options;
  options.dropout = pass.training ? config_.dropout : 0;
  options.key = {pass.seed, pass.step, site + kBeforeOutput};
  return attends_ ? residual_layer_norm(q, attended, alpha_, gain_, bias_, options)
                  : layer_norm(q, gain_, bias_, options);
}

RecurrentLayer::Output SruppLayer::recur(const Tensor& y, const Tensor& x, const Tensor& c, const Pass& pass,
                                         uint32_t site) const {
  const double p = pass.training ? config_.dropout : 0;
  const Tensor u = linear(y, output_);
  SruScanOptions options;
  if (p > 0 && !last_)
    options.mask = dropout_mask({x.size(1), x.size(2)}, p, parameter_dtype(x.dtype()), x.device(),
                                {pass.seed, pass.step, site + kHighway});
  const SruScanResult scan = sru_scan(u, x, scan_weight_, scan_bias_, c, options);
  return {scan.h, scan.c_last};
}

RecurrentLayer::Output SruppLayer::forward(const Tensor& x, const LayerState& state, const Pass& pass,
                                           uint32_t site) const {
  const Tensor q = linear(x, query_);
  Tensor attended;
  if (attends_) {
    // Memory is projected again each segment, so that the weights get their gradient through it.
    const Tensor z = state.memory.defined() ? concat({linear(state.memory, query_), q}) : q;
    AttentionOptions options;
    options.heads = config_.heads;
    options.window = pass.visible_keys;
    options.dropout = pass.training ? config_.attention_dropout : 0;
    options.key = {pass.seed, pass.step, site + kAttention};
    attended = causal_attention(q, linear(z, key_value_), options);
  }
  return recur(normalize(q, attended, pass, site), x, state.c, pass, site);
}

double SruppLayer::forward_flops(int64_t steps) const {
  double flops = 2.0 * static_cast<double>(query_.numel() + output_.numel());
  if (!attends_) return flops;
  // Memory is projected too; a query sees it, the past and itself.
  flops += 2.0 * static_cast<double>(query_.numel() + 2 * key_value_.numel());
  const double visible = static_cast<double>(steps) + static_cast<double>(steps + 1) / 2;
  return flops + 4.0 * visible * static_cast<double>(config_.d_projected);
}

LayerCache SruppLayer::make_cache(int64_t batch, int64_t visible_keys) const {
  LayerCache cache;
  if (!attends_) return cache;
  CHECK(visible_keys > 0, "srupp: generation needs a window of keys, got {}", visible_keys);
  cache.keys_values =
      Tensor({visible_keys, batch, 2 * config_.d_projected}, activation_dtype(query_), config_.device);
  return cache;
}

Tensor SruppLayer::step(const Tensor& x, LayerCache& cache) const {
  const Tensor q = linear(x, query_);
  Tensor attended;
  if (attends_) {
    // Attention has no positions, so the order of keys in the ring does not matter.
    const int64_t capacity = cache.keys_values.size(0);
    const int64_t slot = cache.seen % capacity;
    copy(cache.keys_values.alias_rows(slot, slot + 1), linear(q, key_value_));
    const int64_t valid = std::min(cache.seen + 1, capacity);
    attended = attend_cached(q.alias_shape(q.shape().tail()), cache.keys_values, valid, config_.heads)
                   .alias_shape(q.shape());
  }
  ++cache.seen;
  const Output out = recur(normalize(q, attended, Pass{}, 0), x, cache.c, Pass{}, 0);
  cache.c = out.c;
  return out.h;
}

std::unique_ptr<LanguageModel> make_srupp(const SruppConfig& config, uint64_t seed) {
  CHECK(config.vocabulary > 0 && config.d > 0 && config.d_projected > 0 && config.layers > 0 &&
            config.heads > 0,
        "srupp: sizes must be positive: vocabulary {}, d {}, d' {}, layers {}, heads {}", config.vocabulary,
        config.d, config.d_projected, config.layers, config.heads);
  CHECK(config.d_projected % config.heads == 0, "srupp: heads must divide d': d' is {}, heads {}",
        config.d_projected, config.heads);
  CHECK(config.attention_every >= 0 && config.attention_last >= 0 && config.attention_last <= config.layers,
        "srupp: attention every {} layers, in the last {}; the model has {} layers", config.attention_every,
        config.attention_last, config.layers);
  CHECK(config.attention_every == 0 || config.attention_last == 0,
        "srupp: attention every {} layers and in the last {}: give one of the two, the other as 0",
        config.attention_every, config.attention_last);
  CHECK(config.dropout >= 0 && config.dropout < 1 && config.attention_dropout >= 0 &&
            config.attention_dropout < 1,
        "srupp: dropout {} and attention dropout {} must be in [0, 1)", config.dropout,
        config.attention_dropout);

  Random random(seed);
  RecurrentModel::Parts parts;
  // Authors: embedding and output are untied, both with standard deviation 1 / sqrt(d).
  const double bound = std::sqrt(3.0 / static_cast<double>(config.d));
  parts.embedding = uniform(random, {config.vocabulary, config.d}, bound, config);
  for (int64_t i = 0; i < config.layers; ++i)
    parts.layers.push_back(std::make_unique<SruppLayer>(config, i, random));
  parts.output = uniform(random, {config.vocabulary, config.d}, bound, config);
  parts.output_bias = zeros({config.vocabulary}, config.dtype, config.device);
  parts.dropout = config.dropout;
  parts.config = config.text();
  return std::make_unique<RecurrentModel>(std::move(parts));
}

}  // namespace tandem
