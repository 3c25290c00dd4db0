// The plain and the gated feed-forward part.
#include "tandem/models/layers/rms_feed_forward.h"

#include "tandem/core/array.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/linear.h"

namespace tandem {

RmsFeedForward::RmsFeedForward(const RmsFeedForwardConfig& config, const TokenConfig& tokens, Random& random)
    : config_(config), norm_(config.d, config.norm_eps, tokens) {
  const bool is_normal = config.output_deviation > 0;
  const auto weight = [&random, &tokens, is_normal](int64_t out, int64_t in, double deviation) {
    return is_normal ? normal(random, {out, in}, deviation, tokens)
                     : uniform(random, {out, in}, inverse_sqrt(in), tokens);
  };
  const auto bias = [&random, &tokens, is_normal](int64_t out, int64_t in) {
    return is_normal ? zeros({out}, tokens.dtype, tokens.device)
                     : uniform(random, {out}, inverse_sqrt(in), tokens);
  };
  const int64_t d = config.d, inner = config.inner;
  add_child("norm", norm_);
  in_ = add_parameter("in.weight", weight(inner, d, inverse_sqrt(d)));
  if (config.bias) in_bias_ = add_parameter("in.bias", bias(inner, d));
  if (config.gated) {
    factor_ = add_parameter("factor.weight", weight(inner, d, inverse_sqrt(d)));
    if (config.bias) factor_bias_ = add_parameter("factor.bias", bias(inner, d));
  }
  out_ = add_parameter("out.weight", weight(d, inner, config.output_deviation));
  if (config.bias) out_bias_ = add_parameter("out.bias", bias(d, inner));
}

Layer::Output RmsFeedForward::forward(const Tensor& x, const LayerState&, const ForwardOptions& options,
                                      uint32_t site) const {
  const Tensor n = norm_(x);
  Tensor inner = activation(linear(n, in_, in_bias_), config_.activation);
  if (config_.gated) inner = inner * linear(n, factor_, factor_bias_);
  const double p = options.training ? config_.dropout : 0;
  return {x + dropout(linear(inner, out_, out_bias_), p, {options.seed, options.step, site}), {}};
}

}  // namespace tandem
