// Norms and residual sums.
#include "tandem/models/layers/residual.h"

#include "tandem/core/array.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/layer_norm.h"

namespace tandem {

Norm::Norm(double eps, const Tensor& gain, const Tensor& bias)
    : eps_(eps), gain_(add_parameter("gain", gain)), bias_(add_parameter("bias", bias)) {}

Norm::Norm(int64_t d, double eps, InitialValues& values)
    : Norm(eps, values.gain(d), values.constant({d}, 0)) {}

Tensor Norm::operator()(const Tensor& x) const {
  LayerNormOptions options;
  options.eps = eps_;
  return layer_norm(x, gain_, bias_, options);
}

Residual::Residual(int64_t d, const ResidualConfig& config, InitialValues& values)
    : config_(config), norm_(d, config.eps, values), one_(values.constant({1}, 1)) {
  add_child("norm", norm_);
}

Tensor Residual::input(const Tensor& x) const {
  return config_.norm == NormPlacement::before ? norm_(x) : x;
}

Tensor Residual::sum(const Tensor& x, const Tensor& y, const ForwardOptions& options, uint32_t site) const {
  const double p = options.training ? config_.dropout : 0;
  const DropoutKey key{options.seed, options.step, site};
  LayerNormOptions norm;
  norm.eps = config_.eps;
  switch (config_.norm) {
    case NormPlacement::before:
      return x + dropout(y, p, key);
    case NormPlacement::after:
      return residual_layer_norm(x, dropout(y, p, key), one_, norm_.gain(), norm_.bias(), norm);
    case NormPlacement::inside:
      norm.dropout = p;
      norm.key = key;
      return x + layer_norm(y, norm_.gain(), norm_.bias(), norm);
  }
  return {};
}

}  // namespace tandem
