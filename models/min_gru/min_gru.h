// minGRU (Feng, Tung, Ahmed, Bengio and Hajimirsadeghi 2024, "Were RNNs All We Needed?", arXiv 2410.01201): a GRU
// whose gate and candidate do not see the state, so that all time steps can be computed at once.
//
// A layer maps x (T, B, d) to the same shape; E is d_inner, N the norm by root mean square:
//     x += W_m conv(x) + b_m                                 conv: a filter of conv_width over time for each channel
//     z = W_z N(x)    q = W_h N(x)                           (T, B, E), without biases
//     h_t = (1 - sigmoid(z_t)) h_{t-1} + sigmoid(z_t) g(q_t)   ops/linear_scan.h has g
//     x += W_o h
//
// and a feed-forward layer with GELU follows (models/layers/rms_feed_forward.h). The order of the parts is the
// paper's; their equations, initial values (PyTorch's) and the norm at the end are those of the package
// minGRU-pytorch. The package computes h in logarithms; here the recurrence runs as it is written, since
// 1 - sigmoid(z) lies between 0 and 1, which makes it stable. Ours: dropout of the embedding and of what each part
// adds; rows of the embedding and of the output have variance 1 / d.
#pragma once
#include "tandem/core/random.h"
#include "tandem/models/layer.h"
#include "tandem/models/layers/rms_norm.h"
#include "tandem/models/layers/token_layers.h"

namespace tandem {

struct MinGruLayerOptions {
  int64_t d = 0;
  int64_t d_inner = 0;
  int64_t conv_width = 4;  // 0: the layer begins with the minGRU
  double norm_eps = 1e-6;
  double dropout = 0;
};

struct MinGruConfig : Configured<MinGruConfig> {
  int64_t d = 384;
  int64_t d_inner = 768;
  int64_t d_feed_forward = 1536;
  int64_t layers = 3;
  int64_t conv_width = 4;
  double norm_eps = 1e-6;
  double dropout = 0;

  std::string model_name() const { return "min-gru"; }
  void fields(Fields& field);
};

class MinGruLayer : public Layer {
 public:
  // `config` gives the dtype and the device.
  MinGruLayer(const MinGruLayerOptions& options, const TokenConfig& config, Random& random);

  // "h": the state (B, d_inner). With a filter also "x": the last conv_width - 1 inputs (conv_width - 1, B, d).
  std::vector<std::string> state_names() const override;
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  double forward_flops(int64_t, int64_t) const override;

 private:
  double dropout_;
  Tensor filter_, filter_bias_;  // (d, conv_width), (d)
  Tensor mix_, mix_bias_;        // (d, d), (d)
  RmsNorm norm_;
  Tensor gate_, candidate_, output_;  // (d_inner, d) twice, (d, d_inner)
};

// Error: sizes or an eps that are not positive, a negative width of the filter, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_min_gru(const MinGruConfig& config, uint64_t seed);

}  // namespace tandem
