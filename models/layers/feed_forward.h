// The feed-forward sub-layer of transformers: y = W2 dropout(act(W1 x + b1)) + b2 in a residual sum.
#pragma once
#include "tandem/models/layers/residual.h"
#include "tandem/ops/activation.h"

namespace tandem {

struct FeedForwardConfig {
  int64_t d = 0, inner = 0;  // widths of x and of act(W1 x + b1)
  Activation activation = Activation::relu;
  bool inner_norm = false;   // a norm before W2, as in the Evolved Transformer's code
  double inner_dropout = 0;  // after the activation
  ResidualConfig residual;
};

class FeedForward : public Layer {
 public:
  FeedForward(const FeedForwardConfig& config, InitialValues& values);

  std::vector<std::string> state_names() const override { return {}; }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override {
    return 2.0 * static_cast<double>(in_.numel() + out_.numel());
  }

 private:
  FeedForwardConfig config_;
  Residual residual_;
  std::unique_ptr<Norm> inner_norm_;
  Tensor in_, in_bias_;    // (inner, d), (inner)
  Tensor out_, out_bias_;  // (d, inner), (d)
};

}  // namespace tandem
