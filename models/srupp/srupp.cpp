// The SRU++ layer.
#include "tandem/models/srupp/srupp.h"

#include <cmath>

#include "tandem/core/array.h"
#include "tandem/core/tap.h"
#include "tandem/models/layers/batch_rows.h"
#include "tandem/models/layers/convolution.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/layers/key_value_cache.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/layer_norm.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/sru_scan.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// Dropout sites, counted from the layer's first.
enum Site : uint32_t { kHighway, kAttention, kBeforeOutput };

}  // namespace

SruppLayer::SruppLayer(const SruppConfig& config, int64_t layer, Random& random)
    : config_(config), attends_(config.attends(layer)), last_(layer + 1 == config.layers) {
  only_multiplies_memory_ = attends_;
  const int64_t d = config.d;
  const int64_t p = config.d_projected;
  const auto constant = [&config](int64_t n, double value) {
    return full({n}, value, config.dtype, config.device);
  };
  query_ = add_parameter("query.weight", xavier_uniform(random, {p, d}, config));
  if (attends_) {
    key_value_ = add_parameter("key_value.weight", xavier_uniform(random, {2 * p, p}, config));
    if (config.conv_width > 0) {
      query_filter_ =
          add_parameter("query.filter", initial_filter(p, config.conv_width, config.dtype, config.device));
      key_value_filter_ = add_parameter(
          "key_value.filter", initial_filter(2 * p, config.conv_width, config.dtype, config.device));
    }
    alpha_ = add_parameter("alpha", constant(1, config.alpha));
  } else if (config.short_conv_width > 0) {
    query_filter_ = add_parameter("query.filter",
                                  initial_filter(p, config.short_conv_width, config.dtype, config.device));
  }
  gain_ = add_parameter("norm.gain", constant(p, 1));
  bias_ = add_parameter("norm.bias", constant(p, 0));
  // The factor keeps the variance of U what it would be without the dropout before W_o.
  output_ = add_parameter("output.weight",
                          xavier_uniform(random, {3 * d, p}, config, std::sqrt(1 - config.dropout)));
  scan_weight_ = add_parameter("scan.weight", uniform(random, {2 * d}, 1, config));
  scan_bias_ = add_parameter("scan.bias", constant(2 * d, 0));
  fill(scan_bias_.view_rows(d, 2 * d), config.highway_bias);
}

Tensor SruppLayer::normalize(const Tensor& q, const Tensor& attended, const ForwardOptions& options,
                             uint32_t site) const {
  LayerNormOptions norm;
  norm.dropout = options.training ? config_.dropout : 0;
  norm.key = {options.seed, options.step, site + kBeforeOutput};
  if (attends_) Tap::offer("alpha", alpha_);
  return attends_ ? residual_layer_norm(q, attended, alpha_, gain_, bias_, norm)
                  : layer_norm(q, gain_, bias_, norm);
}

Layer::Output SruppLayer::recur(const Tensor& y, const Tensor& x, const Tensor& c,
                                const ForwardOptions& options, uint32_t site) const {
  const double p = options.training ? config_.dropout : 0;
  const Tensor u = linear_bf16_out(y, output_);
  SruScanOptions scan;
  if (p > 0 && !last_)
    scan.mask = dropout_mask({x.size(1), x.size(2)}, p, parameter_dtype(x.dtype()), x.device(),
                             {options.seed, options.step, site + kHighway});
  const SruScanResult result = sru_scan(u, x, scan_weight_, scan_bias_, c, scan);
  return {result.h, {result.c_last}};
}

std::vector<std::string> SruppLayer::state_names() const {
  if (attends_) return {"c", "memory"};
  if (query_filter_.defined()) return {"c", "prefix"};
  return {"c"};
}

Layer::Output SruppLayer::forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                                  uint32_t site) const {
  const Tensor c = part(before, 0);
  if (!attends_) {
    Tensor prefix = query_filter_.defined() ? part(before, 1) : Tensor();
    const Tensor q = filtered_next(linear(x, query_), query_filter_, prefix);
    Output out = recur(normalize(q, {}, options, site), x, c, options, site);
    if (prefix.defined()) out.state.push_back(prefix);
    return out;
  }
  const FilteredMemory memory(part(before, 1), x, options.context, config_.conv_width);
  const LinearRows z = linear_rows(memory.memory, x, query_);  // z.all: Z of memory and x; z.y: Q
  const Tensor q = z.y;
  // Filtered queries need the projections of a few rows of memory too.
  const Tensor queries =
      memory.for_queries > 0 ? concat({linear(memory.last(memory.for_queries), query_), q}) : q;
  const Tensor kv = key_value_filter_.defined()
                        ? filtered(linear(z.all, key_value_), key_value_filter_, memory.unseen)
                        : linear_bf16_out(z.all, key_value_);
  AttentionOptions attention;
  attention.heads = config_.heads;
  attention.window = options.context.same_length ? options.context.memory + 1 : 0;
  attention.dropout = options.training ? config_.attention_dropout : 0;
  attention.key = {options.seed, options.step, site + kAttention};
  const Tensor attended =
      causal_attention(filtered(queries, query_filter_, memory.for_queries), kv, attention);
  Output out = recur(normalize(q, attended, options, site), x, c, options, site);
  out.state.push_back(memory.next(x));
  return out;
}

double SruppLayer::forward_flops(int64_t steps, int64_t memory) const {
  double flops = 2.0 * static_cast<double>(query_.numel() + output_.numel());
  if (!attends_) return flops;
  const double projected = static_cast<double>(memory) / static_cast<double>(steps);  // memory rows per token
  flops += 2.0 * (projected * static_cast<double>(query_.numel()) +
                  (1 + projected) * static_cast<double>(key_value_.numel()));
  return flops + 4.0 * mean_visible_keys(steps, static_cast<double>(memory)) *
                     static_cast<double>(config_.d_projected);
}

// Projects the keys and values of each token once and keeps them.
class SruppLayer::CachingDecoder : public LayerDecoder {
 public:
  CachingDecoder(const SruppLayer& layer, int64_t batch, int64_t keys)
      : layer_(layer), batch_(batch), keys_(keys) {
    if (layer.attends_)
      cache_ = std::make_unique<KeyValueCache>(keys, batch, 2 * layer.config_.d_projected,
                                               cache_dtype(layer.query_), layer.config_.device);
  }

  Tensor step(const Tensor& x) override {
    Tensor q = linear(x, layer_.query_);
    Tensor attended;
    if (!cache_) {
      q = filtered_next(q, layer_.query_filter_, query_prefix_);
    } else {
      const Tensor kv =
          filtered_next(linear(q, layer_.key_value_), layer_.key_value_filter_, key_value_prefix_);
      attended =
          cache_->attend(filtered_next(q, layer_.query_filter_, query_prefix_), kv,
                         [this](const Tensor& rows, const Tensor& keys) { return attend(rows, keys); });
    }
    const Output out =
        layer_.recur(layer_.normalize(q, attended, ForwardOptions{}, 0), x, c_, ForwardOptions{}, 0);
    c_ = out.state[0];
    return out.h;
  }

  void keep(std::span<const int64_t> rows) override {
    for (Tensor* part : {&c_, &query_prefix_, &key_value_prefix_}) *part = kept_rows(*part, rows);
    if (cache_) cache_->keep(rows);
    batch_ = static_cast<int64_t>(rows.size());
  }

  void append(LayerDecoder& other) override {
    auto& from = as<CachingDecoder>(other);
    const auto join = [this, &from](Tensor& part, const Tensor& more) {
      part = joined_rows(part, batch_, more, from.batch_);
    };
    join(c_, from.c_);
    join(query_prefix_, from.query_prefix_);
    join(key_value_prefix_, from.key_value_prefix_);
    if (cache_) cache_->append(*from.cache_);
    batch_ += from.batch_;
  }

 private:
  Tensor attend(const Tensor& q, const Tensor& kv) const {
    const int64_t heads = layer_.config_.heads;
    if (q.size(0) == 1)
      return attend_cached(q.view_as(q.shape().tail()), kv, kv.size(0), heads).view_as(q.shape());
    return causal_attention(q, kv, {.heads = heads, .window = keys_});
  }

  const SruppLayer& layer_;
  int64_t batch_;
  int64_t keys_;                            // number of keys that a query sees
  Tensor c_;                                // (B, d)
  std::unique_ptr<KeyValueCache> cache_;    // null: the layer does not attend
  Tensor query_prefix_, key_value_prefix_;  // the last projections, which the filters need
};

std::unique_ptr<LayerDecoder> SruppLayer::decoder(int64_t batch, const AttentionContext& context) const {
  return std::make_unique<CachingDecoder>(*this, batch, context.memory + 1);
}

}  // namespace tandem
