// A block of SHA-RNN and SHAQ, and generation with it.
#include "tandem/models/sha_rnn/sha_rnn.h"

#include <cmath>

#include "tandem/core/array.h"
#include "tandem/models/layers/key_value_cache.h"
#include "tandem/models/lstm/lstm.h"
#include "tandem/models/qrnn/qrnn.h"
#include "tandem/ops/activation.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/attention.h"
#include "tandem/ops/chunk_sum.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/slice.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// Dropout sites of a block. Site 0 is the recurrence's.
enum Site : uint32_t { kRecurrent = 1, kQuery, kValue, kAttention, kAttended, kBoom, kBoomSum };

Tensor drop(const Tensor& x, double p, const ForwardOptions& options, uint32_t site) {
  return options.training ? dropout(x, p, {options.seed, options.step, site}) : x;
}

std::unique_ptr<Layer> make_recurrence(const ShaRnnConfig& config, Random& random) {
  if (config.window == 0) return std::make_unique<LstmLayer>(config.d, config.d, config, random);
  return std::make_unique<QrnnLayer>(config.d, config.d, QrnnLayerOptions{.window = config.window}, config,
                                     random);
}

}  // namespace

double ShaRnnConfig::deviation() const {
  return 0.1 / std::sqrt(static_cast<double>(d));
}

std::unique_ptr<Norm> ShaRnnLayer::add_norm(const std::string& name) {
  auto norm = std::make_unique<Norm>(1e-12, full({config_.d}, 1, config_.dtype, config_.device),
                                     zeros({config_.d}, config_.dtype, config_.device));
  add_child(name, *norm);
  return norm;
}

ShaRnnLayer::ShaRnnLayer(const ShaRnnConfig& config, int64_t layer, Random& random)
    : config_(config), attends_(config.attends(layer)), recurrence_(make_recurrence(config, random)) {
  start_ = add_norm("start_norm");
  add_child("recurrence", *recurrence_);
  if (attends_) add_attention(random);
  boom_residual_norm_ = add_norm("boom.residual_norm");
  boom_norm_ = add_norm("boom.norm");
  boom_ = add_parameter("boom.weight", normal(random, {config.d_boom, config.d}, config.deviation(), config));
  boom_bias_ = add_parameter("boom.bias", zeros({config.d_boom}, config.dtype, config.device));
}

void ShaRnnLayer::add_attention(Random& random) {
  const int64_t d = config_.d;
  const auto zero = [this](const char* name, int64_t n) {
    return add_parameter(name, zeros({n}, config_.dtype, config_.device));
  };
  memory_norm_ = add_norm("attention.memory_norm");
  attention_norm_ = add_norm("attention.norm");
  query_ = add_parameter("attention.query.weight", normal(random, {d, d}, config_.deviation(), config_));
  query_bias_ = zero("attention.query.bias", d);
  query_norm_ = add_norm("attention.query_norm");
  query_gate_ = zero("attention.query_gate", d);
  key_gate_ = zero("attention.key_gate", d);
  value_gate_ = zero("attention.value_gate", d);
  if (config_.collapsed_value_gate) {
    random.fill_normal(value_gate_, 0, 0.1);  // at 0, only the gate itself would get a gradient
    return;
  }
  value_gate_weight_ =
      add_parameter("attention.value_gate.weight", normal(random, {2 * d, d}, config_.deviation(), config_));
  value_gate_bias_ = zero("attention.value_gate.bias", 2 * d);
}

Tensor ShaRnnLayer::value_gate(const Tensor& gate, const Tensor& weight, const Tensor& bias) {
  if (!weight.defined()) return gate;
  const int64_t d = gate.size(0);
  const std::vector<Tensor> halves = split(linear(sigmoid(gate), weight, bias), {d, d});
  return sigmoid(halves[1]) * tanh(halves[0]);
}

std::vector<std::string> ShaRnnLayer::state_names() const {
  std::vector<std::string> names = recurrence_->state_names();
  if (attends_) names.push_back("memory");
  return names;
}

Tensor ShaRnnLayer::attend(const Tensor& s, const std::function<Tensor(const Tensor& q)>& attention,
                           const ForwardOptions& options, uint32_t site) const {
  const double p = config_.dropout;
  const Tensor gates = sigmoid(query_gate_) * sigmoid(key_gate_);
  const Tensor q = drop((*query_norm_)(linear(s, query_, query_bias_)) * gates, p, options, site + kQuery);
  const Tensor attended = attention(q);
  const Tensor gate = value_gate(value_gate_, value_gate_weight_, value_gate_bias_);
  return s + drop(attended * gate, p, options, site + kAttended);
}

Tensor ShaRnnLayer::boom(const Tensor& h, const ForwardOptions& options, uint32_t site) const {
  const double p = config_.dropout;
  const Tensor u = gelu(linear((*boom_norm_)(h), boom_, boom_bias_), Gelu::sigmoid1702);
  const Tensor y = chunk_sum(drop(u, p, options, site + kBoom), config_.d);
  return (*boom_residual_norm_)(h) + drop(y, p, options, site + kBoomSum);
}

Layer::Output ShaRnnLayer::forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                                   uint32_t site) const {
  const size_t own = recurrence_->state_names().size();
  Output out = recurrence_->forward((*start_)(x), before, options, site);
  Tensor h = drop(out.h, config_.dropout, options, site + kRecurrent);
  if (attends_) {
    AttentionContext context = options.context;
    Tensor memory = part(before, own);  // in another dtype if a run in another precision left it
    if (memory.defined()) memory = memory.to(x.dtype());
    if (context.memory < 0) {
      context.memory = config_.max_positions;
      const int64_t rows = std::max<int64_t>(0, config_.max_positions - x.size(0));
      if (memory.defined() && memory.size(0) > rows)
        memory = memory.view_rows(memory.size(0) - rows, memory.size(0));
    }
    const Tensor m = (*memory_norm_)(h);
    const Tensor c = concat({memory, m});
    const Tensor kv = concat_columns({c, drop(c, config_.dropout, options, site + kValue)});
    // kv (M + T, B, 2d) holds C and drop(C) side by side.
    const AttentionOptions attention = {.window = context.same_length ? context.memory + 1 : 0,
                                        .dropout = options.training ? config_.dropout : 0,
                                        .key = {options.seed, options.step, site + kAttention}};
    h = attend((*attention_norm_)(h), [&](const Tensor& q) { return causal_attention(q, kv, attention); },
               options, site);
    out.state.push_back(next_memory(memory, m, context));
  }
  out.h = boom(h, options, site);
  return out;
}

double ShaRnnLayer::forward_flops(int64_t steps, int64_t memory) const {
  const double flops = recurrence_->forward_flops(steps, memory) + 2.0 * static_cast<double>(boom_.numel());
  if (!attends_) return flops;
  return flops + 2.0 * static_cast<double>(query_.numel()) +
         4.0 * mean_visible_keys(steps, static_cast<double>(memory)) * static_cast<double>(config_.d);
}

// Caches the rows m twice, side by side: they are both keys and values.
class ShaRnnLayer::CachingDecoder : public LayerDecoder {
 public:
  CachingDecoder(const ShaRnnLayer& layer, int64_t batch, const AttentionContext& context)
      : layer_(layer), keys_(context.memory + 1), recurrence_(layer.recurrence_->decoder(batch, context)) {
    const ShaRnnConfig& config = layer.config_;
    if (layer.attends_)
      cache_ = std::make_unique<KeyValueCache>(keys_, batch, 2 * config.d, activation_dtype(layer.boom_),
                                               config.device);
  }

  Tensor step(const Tensor& x) override {
    Tensor h = recurrence_->step((*layer_.start_)(x));
    if (cache_) {
      const Tensor m = (*layer_.memory_norm_)(h);
      const Tensor kv = concat_columns({m, m});
      const auto attend_group = [this](const Tensor& q, const Tensor& keys) {
        return causal_attention(q, keys, {.window = q.size(0) > 1 ? keys_ : 0});
      };
      h = layer_.attend((*layer_.attention_norm_)(h),
                        [&](const Tensor& q) { return cache_->attend(q, kv, attend_group); },
                        ForwardOptions{}, 0);
    }
    return layer_.boom(h, ForwardOptions{}, 0);
  }

  void keep(std::span<const int64_t> rows) override {
    recurrence_->keep(rows);
    if (cache_) cache_->keep(rows);
  }

  void append(LayerDecoder& other) override {
    auto& from = as<CachingDecoder>(other);
    recurrence_->append(*from.recurrence_);
    if (cache_) cache_->append(*from.cache_);
  }

 private:
  const ShaRnnLayer& layer_;
  int64_t keys_;  // number of keys that a query sees
  std::unique_ptr<LayerDecoder> recurrence_;
  std::unique_ptr<KeyValueCache> cache_;  // null: the block does not attend
};

std::unique_ptr<LayerDecoder> ShaRnnLayer::decoder(int64_t batch, const AttentionContext& context) const {
  return std::make_unique<CachingDecoder>(*this, batch, context);
}

}  // namespace tandem
