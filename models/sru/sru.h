// SRU (Lei et al., EMNLP 2018, arXiv 1709.02755): a stack of light recurrences, no attention.
//
//     U = W X, or W_2 W_1 X with a projection; h, c = SRU recurrence of U with skip alpha X (or a fourth
//     plane of U where the widths differ), alpha = sqrt(1 + 2 e^b) for highway bias b
// The paper gives the equations; initialisation and the enwik8 sizes follow the authors' code
// (asappresearch/sru, 2.x): weights uniform with variance 1 / in, gate planes times sqrt(1/2), candidate
// plane times sqrt(1 - dropout).
#pragma once
#include "core/random.h"
#include "models/layer.h"
#include "models/layers/token_layers.h"

namespace tandem {

struct SruConfig : TokenConfig {
  int64_t d = 512;
  int64_t d_embedding =
      0;  // 0: d; else the first layer takes this width and has a fourth matrix for its skip
  int64_t d_projected = 0;  // W = W_2 W_1 through this width where it is the smallest of the three; 0: never
  int64_t layers = 8;
  double dropout = 0;  // embedding, highway (variational, all layers but the last), output
  double highway_bias = -3;
  bool rescale = true;  // alpha as above; false: 1

  std::string text() const;
  static SruConfig from_text(const std::string& text);
};

class SruLayer : public Layer {
 public:
  SruLayer(const SruConfig& config, int64_t layer, Random& random);

  std::vector<std::string> state_names() const override { return {"c"}; }  // (B, d)
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override {
    return 2.0 * static_cast<double>(weight_.numel() + (projection_.defined() ? projection_.numel() : 0));
  }

 private:
  SruConfig config_;
  bool last_;
  bool same_width_;
  Tensor projection_;               // (d_projected, in); undefined without a projection
  Tensor weight_;                   // (3d or 4d, in or d_projected): candidate, forget, reset, skip
  Tensor scan_weight_, scan_bias_;  // (2d): forget, reset
};

// Error: sizes that are not positive, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_sru(const SruConfig& config, uint64_t seed);

}  // namespace tandem
