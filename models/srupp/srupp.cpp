// The SRU++ layer and its language model.
#include "models/srupp/srupp.h"

#include <algorithm>
#include <cmath>

#include "core/array.h"
#include "core/check.h"
#include "models/layered_model.h"
#include "models/layers/convolution.h"
#include "models/layers/initial_values.h"
#include "models/layers/key_value_cache.h"
#include "ops/attention.h"
#include "ops/concat.h"
#include "ops/dropout.h"
#include "ops/layer_norm.h"
#include "ops/linear.h"
#include "ops/sru_scan.h"
#include "ops/support/weight_cache.h"

namespace tandem {
namespace {

// Dropout sites of a layer, after its first.
enum Site : uint32_t { kHighway, kAttention, kBeforeOutput };

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
    if (config.conv_width > 0) {
      query_filter_ =
          add_parameter("query.filter", initial_filter(p, config.conv_width, config.dtype, config.device));
      key_value_filter_ = add_parameter(
          "key_value.filter", initial_filter(2 * p, config.conv_width, config.dtype, config.device));
    }
    alpha_ = add_parameter("alpha", zeros({1}, config.dtype, config.device));
  }
  gain_ = add_parameter("norm.gain", full({p}, 1, config.dtype, config.device));
  bias_ = add_parameter("norm.bias", zeros({p}, config.dtype, config.device));
  // The factor keeps the variance of U what it would be without the dropout before W_o.
  output_ = add_parameter(
      "output.weight", uniform(random, {3 * d, p}, xavier(3 * d, p) * std::sqrt(1 - config.dropout), config));
  scan_weight_ = add_parameter("scan.weight", uniform(random, {2 * d}, 1, config));
  scan_bias_ = add_parameter("scan.bias", zeros({2 * d}, config.dtype, config.device));
  fill(scan_bias_.view_rows(d, 2 * d),
       config.highway_bias);  // resets start nearly closed: the skip dominates
}

// With the dropout before W_o.
Tensor SruppLayer::normalize(const Tensor& q, const Tensor& attended, const ForwardOptions& pass,
                             uint32_t site) const {
  LayerNormOptions options;
  options.dropout = pass.training ? config_.dropout : 0;
  options.key = {pass.seed, pass.step, site + kBeforeOutput};
  return attends_ ? residual_layer_norm(q, attended, alpha_, gain_, bias_, options)
                  : layer_norm(q, gain_, bias_, options);
}

Layer::Output SruppLayer::recur(const Tensor& y, const Tensor& x, const Tensor& c, const ForwardOptions& pass,
                                uint32_t site) const {
  const double p = pass.training ? config_.dropout : 0;
  const Tensor u = linear_bf16_out(y, output_);
  SruScanOptions options;
  if (p > 0 && !last_)
    options.mask = dropout_mask({x.size(1), x.size(2)}, p, parameter_dtype(x.dtype()), x.device(),
                                {pass.seed, pass.step, site + kHighway});
  const SruScanResult scan = sru_scan(u, x, scan_weight_, scan_bias_, c, options);
  return {scan.h, {scan.c_last}};
}

std::vector<std::string> SruppLayer::state_names() const {
  if (attends_) return {"c", "memory"};
  return {"c"};
}

// Memory is only multiplied.
DType SruppLayer::waiting_dtype(const std::string& part, DType dtype) const {
  return part == "memory" ? cache_dtype(query_) : dtype;
}

Layer::Output SruppLayer::forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                                  uint32_t site) const {
  if (!attends_) return recur(normalize(linear(x, query_), {}, pass, site), x, part(before, 0), pass, site);
  // Memory is projected again each segment, so that the weights get their gradient through it.
  const FilteredMemory memory(part(before, 1), x, pass.context, config_.conv_width);
  const LinearRows z = linear_rows(memory.memory, x, query_);
  const Tensor q = z.y;
  // The filter of the queries looks back on a few rows of the memory only.
  const Tensor queries =
      memory.for_queries > 0 ? concat({linear(memory.last(memory.for_queries), query_), q}) : q;
  const Tensor kv = key_value_filter_.defined()
                        ? filtered(linear(z.all, key_value_), key_value_filter_, memory.unseen)
                        : linear_bf16_out(z.all, key_value_);
  AttentionOptions options;
  options.heads = config_.heads;
  options.window = pass.context.same_length ? pass.context.memory + 1 : 0;
  options.dropout = pass.training ? config_.attention_dropout : 0;
  options.key = {pass.seed, pass.step, site + kAttention};
  const Tensor attended = causal_attention(filtered(queries, query_filter_, memory.for_queries), kv, options);
  Output out = recur(normalize(q, attended, pass, site), x, part(before, 0), pass, site);
  out.state.push_back(memory.next(x));
  return out;
}

double SruppLayer::forward_flops(int64_t steps, int64_t memory) const {
  double flops = 2.0 * static_cast<double>(query_.numel() + output_.numel());
  if (!attends_) return flops;
  // Memory is projected too; a query sees it, the past and itself.
  const double projected = static_cast<double>(memory) / static_cast<double>(steps);
  flops += 2.0 * (projected * static_cast<double>(query_.numel()) +
                  (1 + projected) * static_cast<double>(key_value_.numel()));
  const double visible = static_cast<double>(memory) + static_cast<double>(steps + 1) / 2;
  return flops + 4.0 * visible * static_cast<double>(config_.d_projected);
}

// Keys and values are projected once and kept.
class SruppLayer::CachingDecoder : public LayerDecoder {
 public:
  CachingDecoder(const SruppLayer& layer, int64_t batch, int64_t keys) : layer_(layer) {
    if (layer.attends_)
      cache_ = std::make_unique<KeyValueCache>(keys, batch, 2 * layer.config_.d_projected,
                                               cache_dtype(layer.query_), layer.config_.device);
  }

  Tensor step(const Tensor& x) override {
    const Tensor q = linear(x, layer_.query_);
    Tensor attended;
    if (cache_) {
      const Tensor kv = cache_->append(
          filtered_next(linear(q, layer_.key_value_), layer_.key_value_filter_, key_value_prefix_));
      attended =
          attend_cached(filtered_next(q, layer_.query_filter_, query_prefix_).view_as(q.shape().tail()), kv,
                        kv.size(0), layer_.config_.heads)
              .view_as(q.shape());
    }
    const Output out =
        layer_.recur(layer_.normalize(q, attended, ForwardOptions{}, 0), x, c_, ForwardOptions{}, 0);
    c_ = out.state[0];
    return out.h;
  }

 private:
  const SruppLayer& layer_;
  Tensor c_;                                // (B, d)
  std::unique_ptr<KeyValueCache> cache_;    // null where the layer does not attend
  Tensor query_prefix_, key_value_prefix_;  // the projections that the filters look back on
};

std::unique_ptr<LayerDecoder> SruppLayer::decoder(int64_t batch, const AttentionContext& context) const {
  return std::make_unique<CachingDecoder>(*this, batch, context.memory + 1);
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
  CHECK(config.conv_width >= 0, "srupp: filters of width {}; give 0 for none", config.conv_width);
  CHECK(config.dropout >= 0 && config.dropout < 1 && config.attention_dropout >= 0 &&
            config.attention_dropout < 1,
        "srupp: dropout {} and attention dropout {} must be in [0, 1)", config.dropout,
        config.attention_dropout);

  Random random(seed);
  // Authors: rows at both ends have standard deviation 1 / sqrt(d), whatever their own width.
  const TokenInitializers values(
      [&random, &config](Shape shape) {
        return uniform(random, shape, std::sqrt(3.0 / static_cast<double>(config.d)), config);
      },
      [&random, &config](Shape shape) { return uniform(random, shape, xavier(shape[0], shape[1]), config); });
  LayeredModel::Parts parts;
  parts.embedding = std::make_unique<TokenEmbedding>(config, config.d, 1, values);
  for (int64_t i = 0; i < config.layers; ++i)
    parts.layers.push_back(std::make_unique<SruppLayer>(config, i, random));
  parts.output = std::make_unique<TokenOutput>(config, config.d, *parts.embedding, values);
  parts.vocabulary = config.vocabulary;
  parts.input_dropout = parts.output_dropout = config.dropout;
  parts.config = config.text();
  return std::make_unique<LayeredModel>(std::move(parts));
}

}  // namespace tandem
