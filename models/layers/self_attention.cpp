// Self-attention for segments, and for single tokens with a cache.
#include "tandem/models/layers/self_attention.h"

#include <algorithm>

#include "tandem/autograd/tape.h"
#include "tandem/core/check.h"
#include "tandem/models/layers/batch_rows.h"
#include "tandem/models/layers/convolution.h"
#include "tandem/models/layers/key_value_cache.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/relative_attention.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

enum Site : uint32_t { kAttention, kResidual };
// One site for all layers: they drop the same sinusoids.
constexpr uint32_t kPositionSite = 0xFFFFFFFF;

}  // namespace

SelfAttention::SelfAttention(const SelfAttentionConfig& config, std::shared_ptr<const Sinusoids> sinusoids,
                             InitialValues& values, const SelfAttention* same_bias)
    : config_(config), sinusoids_(std::move(sinusoids)), residual_(config.d, config.residual, values) {
  TANDEM_CHECK(config.d > 0 && config.heads > 0 && config.d_head > 0 && config.conv_width >= 0,
               "self-attention: sizes must be positive: d {}, heads {}, width of a head {}, of a filter {}",
               config.d, config.heads, config.d_head, config.conv_width);
  const int64_t d = config.d, w = width(), pair = config.shared_qk ? w : 2 * w;
  query_ = add_parameter("query.weight", values.matrix(w, d));
  pair_ = add_parameter(config.shared_qk ? "value.weight" : "key_value.weight", values.matrix(pair, d));
  if (config.shared_qk) shared_ = add_parameter("shared.weight", values.matrix(w, w));
  output_ = add_parameter("output.weight", values.matrix(d, w));
  if (config.bias) {
    query_bias_ = add_parameter("query.bias", values.constant({w}, 0));
    pair_bias_ =
        add_parameter(config.shared_qk ? "value.bias" : "key_value.bias", values.constant({pair}, 0));
    output_bias_ = add_parameter("output.bias", values.constant({d}, 0));
  }
  if (config.conv_width > 0) {
    query_filter_ =
        add_parameter("query.filter", initial_filter(w, config.conv_width, query_.dtype(), query_.device()));
    pair_filter_ = add_parameter(config.shared_qk ? "value.filter" : "key_value.filter",
                                 initial_filter(pair, config.conv_width, query_.dtype(), query_.device()));
  }
  if (config.relative) {
    position_ = add_parameter("position.weight", values.matrix(w, d));
    content_bias_ = same_bias ? same_bias->content_bias_ : add_parameter("content_bias", values.normal({w}));
    position_bias_ =
        same_bias ? same_bias->position_bias_ : add_parameter("position_bias", values.normal({w}));
  }
  add_child("residual", residual_);
}

AttentionContext SelfAttention::within_window(AttentionContext context, int64_t steps) const {
  if (config_.window > 0) context.memory = std::min(context.memory_after(steps), config_.window);
  return context;
}

std::vector<std::string> SelfAttention::state_names() const {
  if (config_.relative) return {"memory"};
  return {};
}

Tensor SelfAttention::pair_weight() const {
  return config_.shared_qk ? concat({query_, pair_}) : pair_;
}

Tensor SelfAttention::pair_bias() const {
  return config_.shared_qk && config_.bias ? concat({query_bias_, pair_bias_}) : pair_bias_;
}

Tensor SelfAttention::pair_filter() const {
  return config_.shared_qk && config_.conv_width > 0 ? concat({query_filter_, pair_filter_}) : pair_filter_;
}

Tensor SelfAttention::distances(int64_t keys, int64_t clamp, const Tensor& like,
                                const ForwardOptions& options) const {
  const int64_t rows = clamp > 0 ? std::min(keys, clamp + 1) : keys;
  const Tensor table = sinusoids_->rows(rows, 1, like.dtype(), like.device()).view_as({rows, config_.d});
  const double p = options.training ? config_.residual.dropout : 0;
  return linear(dropout(table, p, {options.seed, options.step, kPositionSite}), position_);
}

Tensor SelfAttention::finish(const Tensor& x, const Tensor& attended, const ForwardOptions& options,
                             uint32_t site) const {
  return residual_.sum(x, linear(attended, output_, output_bias_), options, site + kResidual);
}

Layer::Output SelfAttention::forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                                     uint32_t site) const {
  const AttentionContext context = within_window(options.context, x.size(0));
  const FilteredMemory memory(part(before, 0), x, context, config_.conv_width);
  const Tensor n = residual_.input(x);
  const auto after = [this, &n, &memory](int64_t count) {
    return count > 0 ? concat({residual_.input(memory.last(count)), n}) : n;
  };
  Tensor q =
      filtered(linear(after(memory.for_queries), query_, query_bias_), query_filter_, memory.for_queries);
  if (config_.shared_qk) q = linear(q, shared_);
  const Tensor kv =
      filtered(linear(after(memory.rows), pair_weight(), pair_bias()), pair_filter(), memory.unseen);

  AttentionOptions attention;
  attention.heads = config_.heads;
  attention.dropout = options.training ? config_.attention_dropout : 0;
  attention.key = {options.seed, options.step, site + kAttention};
  if (!config_.relative) return {finish(x, causal_attention(q, kv, attention), options, site), {}};
  attention.window = config_.window;
  if (context.same_length) {
    TANDEM_CHECK(context.memory > 0,
                 "self-attention: a query sees {} keys; give a memory of at least one token", context.memory);
    attention.window = context.memory;
  }
  const Tensor r = distances(kv.size(0), context.clamp, x, options);
  const Tensor attended = relative_attention(q, kv, r, content_bias_, position_bias_, attention);
  return {finish(x, attended, options, site), {memory.next(x)}};
}

double SelfAttention::forward_flops(int64_t steps, int64_t memory) const {
  const double w = static_cast<double>(width()), d = static_cast<double>(config_.d);
  if (config_.window > 0) memory = std::min(memory, config_.window);
  const double past = config_.relative ? static_cast<double>(memory) : 0;
  // The projection of the sinusoids, once for the whole batch, is not counted.
  const double projections =
      2 * d * w + (config_.shared_qk ? w * w : 0) + 2 * d * w * (1 + past / static_cast<double>(steps));
  double keys = mean_visible_keys(steps, past);
  if (config_.window > 0) keys = std::min(keys, static_cast<double>(config_.window));
  return 2 * projections + (config_.relative ? 6 : 4) * keys * w;
}

class SelfAttention::CachingDecoder : public LayerDecoder {
 public:
  CachingDecoder(const SelfAttention& layer, int64_t batch, const AttentionContext& context)
      : layer_(layer),
        batch_(batch),
        context_(layer.within_window(context, context.memory)),
        // Without a state to carry, generation starts over before a query could see more (AttentionContext::segment).
        keys_(layer.config_.relative ? context_.memory : context_.longest()),
        cache_(keys_, batch, 2 * layer.width(),
               layer.config_.relative ? activation_dtype(layer.query_) : cache_dtype(layer.query_),
               layer.query_.device()) {
    NoGrad pause;
    pair_weight_ = layer.pair_weight();
    pair_bias_ = layer.pair_bias();
    pair_filter_ = layer.pair_filter();
  }

  Tensor step(const Tensor& x) override {
    const Tensor n = layer_.residual_.input(x);
    Tensor q =
        filtered_next(linear(n, layer_.query_, layer_.query_bias_), layer_.query_filter_, query_prefix_);
    if (layer_.config_.shared_qk) q = linear(q, layer_.shared_);
    const Tensor kv = filtered_next(linear(n, pair_weight_, pair_bias_), pair_filter_, pair_prefix_);
    const Tensor attended =
        cache_.attend(q, kv, [this](const Tensor& rows, const Tensor& keys) { return attend(rows, keys); });
    return layer_.finish(x, attended, ForwardOptions{}, 0);
  }

  void keep(std::span<const int64_t> rows) override {
    query_prefix_ = kept_rows(query_prefix_, rows);
    pair_prefix_ = kept_rows(pair_prefix_, rows);
    cache_.keep(rows);
    batch_ = static_cast<int64_t>(rows.size());
  }

  void append(LayerDecoder& other) override {
    auto& from = as<CachingDecoder>(other);
    query_prefix_ = joined_rows(query_prefix_, batch_, from.query_prefix_, from.batch_);
    pair_prefix_ = joined_rows(pair_prefix_, batch_, from.pair_prefix_, from.batch_);
    cache_.append(from.cache_);
    batch_ += from.batch_;
  }

 private:
  Tensor attend(const Tensor& q, const Tensor& kv) {
    AttentionOptions attention;
    attention.heads = layer_.config_.heads;
    if (!layer_.config_.relative && q.size(0) == 1)
      return attend_cached(q.view_as(q.shape().tail()), kv, kv.size(0), attention.heads).view_as(q.shape());
    if (q.size(0) > 1) attention.window = keys_;
    if (!layer_.config_.relative) return causal_attention(q, kv, attention);
    if (!distances_.defined()) distances_ = layer_.distances(keys_, context_.clamp, q, ForwardOptions{});
    const Tensor r = distances_.view_rows(0, std::min(distances_.size(0), kv.size(0)));
    return relative_attention(q, kv, r, layer_.content_bias_, layer_.position_bias_, attention);
  }

  const SelfAttention& layer_;
  int64_t batch_;
  AttentionContext context_;
  int64_t keys_;  // number of keys that a query sees
  KeyValueCache cache_;
  Tensor pair_weight_, pair_bias_, pair_filter_;
  Tensor query_prefix_, pair_prefix_;  // the last projections, which the filters need
  Tensor distances_;
};

std::unique_ptr<LayerDecoder> SelfAttention::decoder(int64_t batch, const AttentionContext& context) const {
  return std::make_unique<CachingDecoder>(*this, batch, context);
}

}  // namespace tandem
