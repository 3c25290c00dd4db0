// RmsNorm: the norm by root mean square with a learned gain, alone and as the layer at the end of a stack.
#pragma once
#include "tandem/models/layer.h"
#include "tandem/models/layers/token_layers.h"

namespace tandem {

// y = x / sqrt(mean(x^2) + eps) (1 + scale) over the last axis. scale (d) starts at 0, so that weight decay pulls
// the gain towards 1.
class RmsNorm : public Module {
 public:
  RmsNorm(int64_t d, double eps, const TokenConfig& config);
  Tensor operator()(const Tensor& x) const;

 private:
  double eps_;
  Tensor scale_;
};

class RmsNormLayer : public Layer {
 public:
  RmsNormLayer(int64_t d, double eps, const TokenConfig& config) : norm_(d, eps, config) {
    add_child("norm", norm_);
  }

  std::vector<std::string> state_names() const override { return {}; }
  Output forward(const Tensor& x, const LayerState&, const ForwardOptions&, uint32_t) const override {
    return {norm_(x), {}};
  }
  double forward_flops(int64_t, int64_t) const override { return 0; }

 private:
  RmsNorm norm_;
};

}  // namespace tandem
