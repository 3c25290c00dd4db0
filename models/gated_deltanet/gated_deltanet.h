// Gated DeltaNet (Yang, Kautz and Hatamizadeh, ICLR 2025, arXiv 2412.06464): a recurrence whose state is a matrix for
// each head, which forgets by a decay and stores a value under a key by correcting what it holds for that key.
//
// A layer maps x (T, B, d) to the same shape; N is the norm by root mean square, H the number of heads:
//     n = N(x)
//     q, k = conv and SiLU of W_q n, W_k n, each head then of length 1; q / sqrt(d_key)     (T, B, H d_key)
//     v = conv and SiLU of W_v n                                                            (T, B, H d_value)
//     beta = sigmoid(W_b n)     log decay = -e^A softplus(W_a n + dt)                       (T, B, H); A, dt: (H)
//     o = gated delta rule of these                                                         ops/gated_delta_rule.h
//     x += W_o (N_head(o) silu(W_g n))                                                      N_head: each head by itself
//
// conv is a filter over conv_width steps for each channel. A gated feed-forward layer with SiLU and without biases
// follows (models/layers/rms_feed_forward.h); a norm ends the stack. The equations are the paper's and those of the
// authors' code (fla-org/flash-linear-attention), so are the initial A and dt. Ours: the other matrices start as N(0, 1
// / columns), which at the authors' width is their 0.02, the last of each layer smaller with the number of layers.
#pragma once
#include "tandem/core/random.h"
#include "tandem/models/layer.h"
#include "tandem/models/layers/rms_norm.h"
#include "tandem/models/layers/token_layers.h"

namespace tandem {

struct GatedDeltaLayerOptions {
  int64_t d = 0;
  int64_t heads = 4;
  int64_t d_key = 0, d_value = 0;  // of a head
  int64_t conv_width = 4;
  double norm_eps = 1e-6;
  double output_deviation = 0.02;  // standard deviation of the initial W_o
  double dropout = 0;              // of what the layer adds
};

struct GatedDeltaNetConfig : Configured<GatedDeltaNetConfig> {
  int64_t d = 256;
  int64_t heads = 4;
  int64_t d_key = 48;    // of a head
  int64_t d_value = 96;  // of a head
  int64_t d_feed_forward = 704;
  int64_t layers = 4;
  int64_t conv_width = 4;
  double norm_eps = 1e-6;
  double dropout = 0;  // of the embedding and of what each layer adds

  std::string model_name() const { return "gated-deltanet"; }
  void fields(Fields& field);
};

class GatedDeltaLayer : public Layer {
 public:
  // `config` gives the dtype and the device.
  GatedDeltaLayer(const GatedDeltaLayerOptions& options, const TokenConfig& config, Random& random);

  // "s": the state (B, H d_key d_value); "q", "k", "v": the last conv_width - 1 inputs of the filters.
  std::vector<std::string> state_names() const override { return {"s", "q", "k", "v"}; }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override;

 private:
  GatedDeltaLayerOptions options_;
  RmsNorm norm_, head_norm_;
  Tensor query_, key_, value_;                       // (H d_key, d) twice, (H d_value, d)
  Tensor query_filter_, key_filter_, value_filter_;  // the same rows, conv_width columns
  Tensor decay_, decay_bias_, decay_rate_;           // (H, d), (H), (H): W_a, dt, A
  Tensor beta_, gate_, output_;                      // (H, d), (H d_value, d), (d, H d_value): W_b, W_g, W_o
};

// Error: sizes that are not positive, a filter narrower than two steps, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_gated_deltanet(const GatedDeltaNetConfig& config, uint64_t seed);

}  // namespace tandem
