// SRU (Lei et al., EMNLP 2018, arXiv 1709.02755): a stack of light recurrences without attention.
//
// A layer maps X (T, B, in) to h (T, B, d):
//     U    = W X                    or W_2 W_1 X through a narrower width d'
//     h, c = SRU recurrence of U    ops/sru_scan.h has the equations
// The skip of the recurrence is alpha X with alpha = sqrt(1 + 2 e^b) for highway bias b; where the widths in
// and d differ, it is a fourth plane of U.
//
// The equations are the paper's. Initial values and the enwik8 sizes follow the authors' code
// (asappresearch/sru, 2.x): W uniform with variance 1 / columns, then the candidate plane times
// sqrt(1 - dropout) and the gate planes times sqrt(1/2); v uniform with variance 1/2.
#pragma once
#include "tandem/core/random.h"
#include "tandem/models/layer.h"
#include "tandem/models/layers/token_layers.h"

namespace tandem {

struct SruConfig : Configured<SruConfig> {
  int64_t d = 512;
  int64_t d_embedding = 0;  // width of the first layer's input; 0: d
  int64_t d_projected = 0;  // d'; used in layers where it is less than in and d; 0: never
  int64_t layers = 8;
  double dropout =
      0;  // of embedding, highway (one mask for all time steps, not in the last layer) and output
  double highway_bias = -3;
  bool rescale = true;  // alpha as above; false: alpha = 1

  std::string model_name() const { return "sru"; }
  void fields(Fields& field);
};

class SruLayer : public Layer {
 public:
  SruLayer(const SruConfig& config, int64_t layer, Random& random);

  std::vector<std::string> state_names() const override { return {"c"}; }  // (B, d)
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override {
    return 2.0 * static_cast<double>(weight_.numel() + (projection_.defined() ? projection_.numel() : 0));
  }

 private:
  SruConfig config_;
  bool last_;                       // of the stack: no dropout of the highway
  bool same_width_;                 // in is d: the skip is X
  Tensor projection_;               // W_1 (d', in); undefined: no projection
  Tensor weight_;                   // W (3d or 4d, in or d'): candidate, forget, reset, skip
  Tensor scan_weight_, scan_bias_;  // (2d): forget, reset
};

// Error: sizes that are not positive, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_sru(const SruConfig& config, uint64_t seed);

}  // namespace tandem
