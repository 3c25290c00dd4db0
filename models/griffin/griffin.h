// Griffin (De et al. 2024, arXiv 2402.19427): gated linear recurrences, the RG-LRU, with local attention in every
// third block. Hawk is the same without attention.
//
// A recurrent layer maps x (T, B, d) to the same shape; R is d_recurrent, N the norm by root mean square:
//     y = gelu(W_y N(x) + b_y)                                        (T, B, R)
//     u = conv(W_x N(x) + b_x)                                        a filter of conv_width steps for each channel
//     r = sigmoid(G_a u + b_a)    i = sigmoid(G_i u + b_i)            G: block-diagonal, `blocks` blocks
//     log a = -8 r softplus(L)                                        L: one number for each channel
//     h_t = a_t h_{t-1} + sqrt(1 - a_t^2) (i_t u_t)                   ops/linear_scan.h
//     x += W_o (h y) + b_o
//
// Behind it, and behind each layer of attention, stands a gated feed-forward layer (rms_feed_forward.h); a norm ends
// the stack, and the output uses the embedding's rows. GELU is the form with tanh.
//
// The equations and initial values of all this are those of the authors' code (google-deepmind/recurrentgemma). Its
// local attention has one head of keys and values and rotated positions. Ours: Transformer-XL's relative attention
// within the same window (models/layers/self_attention.h). RecurrentGemma's soft limit of the logits is left out.
#pragma once
#include "tandem/core/random.h"
#include "tandem/models/layer.h"
#include "tandem/models/layers/rms_norm.h"
#include "tandem/models/layers/token_layers.h"

namespace tandem {

struct RgLruLayerOptions {
  int64_t d = 0;
  int64_t d_recurrent = 0;
  int64_t blocks = 1;  // of the gates
  int64_t conv_width = 4;
  double norm_eps = 1e-6;
  double output_deviation = 0.02;  // standard deviation of the initial W_o
  double dropout = 0;              // of what the layer adds
};

struct GriffinConfig : Configured<GriffinConfig> {
  GriffinConfig() { tied = true; }

  int64_t d = 256;
  int64_t d_recurrent = 256;
  int64_t d_feed_forward = 768;
  int64_t layers = 6;
  int64_t blocks = 8;           // of the gates; they divide d_recurrent
  int64_t attention_every = 3;  // every layer of this number attends, the others recur; 0: Hawk
  int64_t heads = 4;            // of the attention; they divide d
  int64_t window = 1024;        // keys that a query sees at most, its own included
  int64_t conv_width = 4;
  bool scaled_embedding = false;  // the embedding's rows times sqrt(d), as in RecurrentGemma
  double norm_eps = 1e-6;
  double dropout = 0;  // of the embedding and of what each layer adds
  double attention_dropout = 0;

  bool attends(int64_t layer) const { return attention_every > 0 && (layer + 1) % attention_every == 0; }
  std::string model_name() const { return "griffin"; }
  void fields(Fields& field);
};

class RgLruLayer : public Layer {
 public:
  // `config` gives the dtype and the device.
  RgLruLayer(const RgLruLayerOptions& options, const TokenConfig& config, Random& random);

  // "h": the state (B, d_recurrent); "u": the last conv_width - 1 inputs of the filter, before it.
  std::vector<std::string> state_names() const override { return {"h", "u"}; }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override;

 private:
  double dropout_;
  RmsNorm norm_;
  Tensor branch_, branch_bias_;          // (R, d), (R): W_y, b_y
  Tensor input_, input_bias_;            // (R, d), (R): W_x, b_x
  Tensor filter_, filter_bias_;          // (R, conv_width), (R)
  Tensor decay_;                         // (R): L
  Tensor decay_gate_, decay_gate_bias_;  // (blocks, R / blocks, R / blocks), (R): G_a, b_a
  Tensor input_gate_, input_gate_bias_;  // as the decay's: G_i, b_i
  Tensor output_, output_bias_;          // (d, R), (d): W_o, b_o
};

// Error: sizes that are not positive, blocks that do not divide d_recurrent, heads that do not divide d, a filter
// narrower than two steps, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_griffin(const GriffinConfig& config, uint64_t seed);

}  // namespace tandem
