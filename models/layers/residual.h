// Residual: the sum around a sub-layer of a transformer with its norm and dropout. NormLayer: the norm at
// the end of a stack.
#pragma once
#include "tandem/models/layer.h"
#include "tandem/models/layers/initial_values.h"

namespace tandem {

// Place of the norm. f is the sub-layer.
enum class NormPlacement {
  before,  // x + dropout(f(norm(x)))
  after,   // norm(x + dropout(f(x))): Vaswani et al. (2017), Transformer-XL
  inside   // x + dropout(norm(f(x))): Primer's feed-forward part
};

struct ResidualConfig {
  NormPlacement norm = NormPlacement::before;
  double eps = 1e-5;
  double dropout = 0;
};

// Layer norm over the last axis with gain and bias.
class Norm : public Module {
 public:
  Norm(int64_t d, double eps, InitialValues& values);
  Norm(double eps, const Tensor& gain, const Tensor& bias);
  Tensor operator()(const Tensor& x) const;
  const Tensor& gain() const { return gain_; }
  const Tensor& bias() const { return bias_; }

 private:
  double eps_;
  Tensor gain_, bias_;  // (d)
};

class Residual : public Module {
 public:
  Residual(int64_t d, const ResidualConfig& config, InitialValues& values);

  // Returns the input of f: x or norm(x).
  Tensor input(const Tensor& x) const;
  // Adds y, the result of f, to x. `site` is the dropout site.
  Tensor sum(const Tensor& x, const Tensor& y, const ForwardOptions& options, uint32_t site) const;

 private:
  ResidualConfig config_;
  Norm norm_;
  Tensor one_;  // (1), the factor of y in residual_layer_norm()
};

class NormLayer : public Layer {
 public:
  NormLayer(int64_t d, double eps, InitialValues& values) : norm_(d, eps, values) {
    add_child("norm", norm_);
  }

  std::vector<std::string> state_names() const override { return {}; }
  Output forward(const Tensor& x, const LayerState&, const ForwardOptions&, uint32_t) const override {
    return {norm_(x), {}};
  }
  double forward_flops(int64_t, int64_t) const override { return 0; }

 private:
  Norm norm_;
};

}  // namespace tandem
