// The feed-forward sub-layer.
#include "tandem/models/layers/feed_forward.h"

#include "tandem/ops/dropout.h"
#include "tandem/ops/linear.h"

namespace tandem {
namespace {

enum Site : uint32_t { kInner, kResidual };

}  // namespace

FeedForward::FeedForward(const FeedForwardConfig& config, InitialValues& values)
    : config_(config), residual_(config.d, config.residual, values) {
  in_ = add_parameter("in.weight", values.matrix(config.inner, config.d));
  in_bias_ = add_parameter("in.bias", values.constant({config.inner}, 0));
  out_ = add_parameter("out.weight", values.matrix(config.d, config.inner));
  out_bias_ = add_parameter("out.bias", values.constant({config.d}, 0));
  add_child("residual", residual_);
  if (!config.inner_norm) return;
  inner_norm_ = std::make_unique<Norm>(config.inner, config.residual.eps, values);
  add_child("inner_norm", *inner_norm_);
}

Layer::Output FeedForward::forward(const Tensor& x, const LayerState&, const ForwardOptions& options,
                                   uint32_t site) const {
  Tensor inner = activation(linear(residual_.input(x), in_, in_bias_), config_.activation);
  inner = dropout(inner, options.training ? config_.inner_dropout : 0,
                  {options.seed, options.step, site + kInner});
  if (inner_norm_) inner = (*inner_norm_)(inner);
  return {residual_.sum(x, linear(inner, out_, out_bias_), options, site + kResidual), {}};
}

}  // namespace tandem
