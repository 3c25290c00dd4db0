// The feed-forward part of the newer models: with the norm by root mean square before it, plain or gated, in a
// residual sum.
//
// Shazeer, "GLU Variants Improve Transformer" (2020), for the gate.
#pragma once
#include "tandem/core/random.h"
#include "tandem/models/layer.h"
#include "tandem/models/layers/rms_norm.h"
#include "tandem/ops/activation.h"

namespace tandem {

struct RmsFeedForwardConfig {
  int64_t d = 0, inner = 0;
  Activation activation = Activation::gelu_erf;
  bool gated = false;
  bool bias = true;
  double norm_eps = 1e-6;
  double dropout = 0;  // of what the layer adds
  // Standard deviation of W_2; then the other matrices are N(0, 1 / d), and biases start at 0. With 0 all are
  // uniform within 1 / sqrt(columns), as in PyTorch.
  double output_deviation = 0;
};

//     plain    x + W_2 f(W_1 n + b_1) + b_2                       n = RmsNorm(x), f the activation
//     gated    x + W_2 (f(W_1 n + b_1) (W_3 n + b_3)) + b_2
class RmsFeedForward : public Layer {
 public:
  // `tokens` gives the dtype and the device.
  RmsFeedForward(const RmsFeedForwardConfig& config, const TokenConfig& tokens, Random& random);

  std::vector<std::string> state_names() const override { return {}; }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override {
    return 2.0 * static_cast<double>(in_.numel() * (config_.gated ? 2 : 1) + out_.numel());
  }

 private:
  RmsFeedForwardConfig config_;
  RmsNorm norm_;
  Tensor in_, in_bias_;          // (inner, d), (inner): W_1, b_1; no bias is defined without `bias`
  Tensor factor_, factor_bias_;  // (inner, d), (inner): W_3, b_3; undefined if not gated
  Tensor out_, out_bias_;        // (d, inner), (d): W_2, b_2
};

}  // namespace tandem
