// The Evolved Transformer's decoder (So, Liang and Le, ICML 2019, arXiv 1901.11117) as a language model.
//
// A block is four sub-layers, each in a residual sum with the norm before it; one block has the parameters of
// nearly two of an ordinary transformer, and a norm ends the stack:
//     attention      with twice the heads, each of half the width
//     convolutions   n = norm(x);  S = norm(dropout(relu(conv11(n))) + dropout(conv7(n)));  y = conv7(S)
//                    conv11: d -> 2d;  the first conv7: d -> d/2, added to the first d/2 channels;  the last: 2d -> d
//     attention
//     feed-forward   of width 4d, with swish
// The convolutions are separable: a filter for each channel over time, then a matrix; neither has a bias.
// Sizes and order follow the authors' code (tensor2tensor). Ours: Transformer-XL's positions and memory in
// the attention sub-layers (d^2 parameters each beyond the published sizes), its initial weights, and the
// rows that a filter needs of the segment before, which are carried too.
#pragma once
#include "models/layers/residual.h"

namespace tandem {

struct EvolvedTransformerConfig : TokenConfig {
  EvolvedTransformerConfig() { tied = true; }

  int64_t blocks = 4, d = 512, heads = 8;
  bool inner_norm = false;  // before the last matrix of the feed-forward part, as tensor2tensor has it
  double dropout = 0;       // of embedding, positions, sub-layers and what is inside them
  double attention_dropout = 0;
  double init_std = 0.02;

  std::string text() const;
  static EvolvedTransformerConfig from_text(const std::string& text);
};

// A filter for each channel over time, then a matrix.
class SeparableConvolution : public Module {
 public:
  SeparableConvolution(int64_t in, int64_t out, int64_t width, InitialValues& values);

  // x (T, B, in) with the width - 1 rows before it, undefined: zeros, to (T, B, out).
  Tensor forward(const Tensor& x, const Tensor& prefix) const;
  int64_t width() const { return filter_.size(1); }
  double forward_flops() const { return 2.0 * static_cast<double>(filter_.numel() + weight_.numel()); }

 private:
  Tensor filter_;  // (in, width)
  Tensor weight_;  // (out, in)
};

class ConvolutionLayer : public Layer {
 public:
  ConvolutionLayer(int64_t d, const ResidualConfig& residual, InitialValues& values);

  // The last rows of n, (10, B, d), and of S, (6, B, 2d).
  std::vector<std::string> state_names() const override { return {"rows", "wide_rows"}; }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override {
    return left_.forward_flops() + right_.forward_flops() + last_.forward_flops();
  }

 private:
  double dropout_;
  Residual residual_;
  SeparableConvolution left_, right_, last_;
  Norm inner_norm_;
};

// Error: sizes that are not positive, twice the heads that do not divide d, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_evolved_transformer(const EvolvedTransformerConfig& config,
                                                        uint64_t seed);

}  // namespace tandem
