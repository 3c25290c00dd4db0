// The Evolved Transformer's convolutions and its stack.
#include "tandem/models/evolved_transformer/evolved_transformer.h"

#include <cmath>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/models/layered_model.h"
#include "tandem/models/layers/convolution.h"
#include "tandem/models/layers/feed_forward.h"
#include "tandem/models/layers/self_attention.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/causal_conv.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/linear.h"

namespace tandem {
namespace {

enum Site : uint32_t { kLeft, kRight, kResidual };

}  // namespace

void EvolvedTransformerConfig::fields(Fields& field) {
  token_fields(field);
  field("blocks", blocks);
  field("d", d);
  field("heads", heads);
  field("inner_norm", inner_norm);
  field("dropout", dropout);
  field("attention_dropout", attention_dropout);
  field("init_std", init_std);
}

SeparableConvolution::SeparableConvolution(int64_t in, int64_t out, int64_t width, InitialValues& values)
    : filter_(add_parameter("filter", values.filter(in, width))),
      weight_(add_parameter("weight", values.matrix(out, in))) {}

Tensor SeparableConvolution::forward(const Tensor& x, const Tensor& prefix) const {
  return linear(causal_conv(x, filter_, {}, prefix), weight_);
}

ConvolutionLayer::ConvolutionLayer(int64_t d, const ResidualConfig& residual, InitialValues& values)
    : dropout_(residual.dropout),
      residual_(d, residual, values),
      left_(d, 2 * d, 11, values),
      right_(d, d / 2, 7, values),
      last_(2 * d, d, 7, values),
      inner_norm_(2 * d, residual.eps, values) {
  add_child("residual", residual_);
  add_child("left", left_);
  add_child("right", right_);
  add_child("inner_norm", inner_norm_);
  add_child("last", last_);
}

Layer::Output ConvolutionLayer::forward(const Tensor& x, const LayerState& before,
                                        const ForwardOptions& options, uint32_t site) const {
  const double p = options.training ? dropout_ : 0;
  const auto key = [&options, site](uint32_t at) {
    return DropoutKey{options.seed, options.step, site + at};
  };
  const auto carried = [&before, &x](size_t i) {
    return part(before, i).defined() ? part(before, i).to(x.dtype()) : Tensor();
  };
  const Tensor n = residual_.input(x), rows = carried(0), wide_rows = carried(1);
  const Tensor near = rows.defined() ? rows.view_rows(left_.width() - right_.width(), rows.size(0)) : rows;
  const Tensor left = dropout(relu(left_.forward(n, rows)), p, key(kLeft));
  const Tensor right = dropout(right_.forward(n, near), p, key(kRight));
  const Tensor none = zeros(right.shape().with(2, left.size(2) - right.size(2)), x.dtype(), x.device());
  const Tensor wide = inner_norm_(left + concat_columns({right, none}));
  const Tensor y = last_.forward(wide, wide_rows);
  return {residual_.sum(x, y, options, site + kResidual),
          {next_prefix(rows, n, left_.width()), next_prefix(wide_rows, wide, last_.width())}};
}

std::unique_ptr<LanguageModel> make_evolved_transformer(const EvolvedTransformerConfig& config,
                                                        uint64_t seed) {
  const int64_t blocks = config.blocks, d = config.d, heads = config.heads;
  const double dropout = config.dropout, attention_dropout = config.attention_dropout;
  TANDEM_CHECK(config.vocabulary > 0 && blocks > 0 && d > 0 && heads > 0,
               "evolved-transformer: sizes must be positive: vocabulary {}, blocks {}, d {}, heads {}",
               config.vocabulary, blocks, d, heads);
  check_layer_count("evolved-transformer", blocks);
  TANDEM_CHECK(d % (2 * heads) == 0, "evolved-transformer: d {} must be a multiple of twice the {} heads", d,
               heads);
  TANDEM_CHECK(dropout >= 0 && dropout < 1 && attention_dropout >= 0 && attention_dropout < 1,
               "evolved-transformer: dropout {} and attention dropout {} must be in [0, 1)", dropout,
               attention_dropout);
  const ResidualConfig residual = {.norm = NormPlacement::before, .dropout = dropout};
  const auto attention = [d, attention_dropout, &residual](int64_t count) {
    return SelfAttentionConfig{.d = d,
                               .heads = count,
                               .d_head = d / count,
                               .attention_dropout = attention_dropout,
                               .residual = residual};
  };
  InitialValues values(config, config.init_std, seed);
  const Initializer rows = [&values](Shape shape) { return values.embedding(shape); };
  const auto sinusoids = std::make_shared<const Sinusoids>(d);
  const FeedForwardConfig feed_forward = {.d = d,
                                          .inner = 4 * d,
                                          .activation = Activation::silu,
                                          .inner_norm = config.inner_norm,
                                          .inner_dropout = dropout,
                                          .residual = residual};
  const FrameConfig frame = {.input_width = d,
                             .output_width = d,
                             .embedding_scale = std::sqrt(static_cast<double>(d)),
                             .input_dropout = dropout};
  const auto add_layers = [d, heads, blocks, &attention, &residual, &feed_forward, &sinusoids,
                           &values](Layers& layers) {
    for (int64_t i = 0; i < blocks; ++i) {
      layers.push_back(std::make_unique<SelfAttention>(attention(2 * heads), sinusoids, values));
      layers.push_back(std::make_unique<ConvolutionLayer>(d, residual, values));
      layers.push_back(std::make_unique<SelfAttention>(attention(heads), sinusoids, values));
      layers.push_back(std::make_unique<FeedForward>(feed_forward, values));
    }
    layers.push_back(std::make_unique<NormLayer>(d, residual.eps, values));
  };
  return std::make_unique<LayeredModel>(config, config.text(), frame, rows, add_layers);
}

}  // namespace tandem
