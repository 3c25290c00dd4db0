// The Evolved Transformer's decoder (So, Liang and Le, ICML 2019, arXiv 1901.11117) as a language model.
//
// A block has four sub-layers, each in a residual sum with the norm before it, and nearly as many
// parameters as two blocks of an ordinary transformer. A norm ends the stack.
//     attention      with twice the heads, each of half the width
//     convolutions   n = norm(x);  S = norm(dropout(relu(conv11(n))) + dropout(conv7(n)));  y = conv7(S)
//                    conv11: d -> 2d;  first conv7: d -> d/2, added to the first d/2 channels;  last: 2d -> d
//     attention
//     feed-forward   of width 4d, with swish
// The convolutions are separable: a filter over time for each channel, then a matrix; neither has a bias.
// Sizes and order follow the authors' code (tensor2tensor). Ours: the attention sub-layers have
// Transformer-XL's positions and memory (d^2 parameters each beyond the published sizes), weights start as
// Transformer-XL's, and the rows that a filter needs from the segment before are carried.
#pragma once
#include "tandem/models/layers/residual.h"

namespace tandem {

struct EvolvedTransformerConfig : Configured<EvolvedTransformerConfig> {
  EvolvedTransformerConfig() { tied = true; }

  int64_t blocks = 4, d = 512, heads = 8;
  bool inner_norm = false;  // before the last matrix of the feed-forward part, as tensor2tensor has it
  double dropout = 0;       // of embedding and positions, inside sub-layers and of their results
  double attention_dropout = 0;
  double init_std = 0.02;

  std::string model_name() const { return "evolved-transformer"; }
  void fields(Fields& field);
};

// A causal filter over time for each channel, then a matrix.
class SeparableConvolution : public Module {
 public:
  SeparableConvolution(int64_t in, int64_t out, int64_t width, InitialValues& values);

  // Maps x (T, B, in) to (T, B, out). `prefix` (width - 1, B, in) holds the rows before x; undefined: zeros.
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

  // "rows": the last rows of n, (10, B, d). "wide_rows": those of S, (6, B, 2d).
  std::vector<std::string> state_names() const override { return {"rows", "wide_rows"}; }
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
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

// Error: sizes that are not positive, d not a multiple of twice the heads, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_evolved_transformer(const EvolvedTransformerConfig& config,
                                                        uint64_t seed);

}  // namespace tandem
