// SRU++ (Lei 2021, arXiv 2102.12459): attention inside the linear map of a fast recurrence.
//
// A layer maps X (T, B, d) with memory Mem (M, B, d):
//     Z      = W_q [Mem; X]                 (M + T, B, d')   d' < d: attention, its norm and its residual live in d'
//     [K; V] = W_kv Z                       (M + T, B, 2 d')
//     Q      = the last T rows of Z         (T, B, d')
//     A      = softmax(Q K' / sqrt(d' / heads) + causal mask) V
//     Y      = LayerNorm(Q + alpha A)       (T, B, d')       alpha starts at 0: a new layer is an SRU of low rank
//     U      = W_o dropout(Y)               (T, B, 3 d)
//     h, c   = SRU recurrence of U with skip X and highway bias -2 (ops/sru_scan.h)
// A projected layer has no attention: U = W_o dropout(LayerNorm(W_q X)).
// The paper gives the equations; initialisation, weight order and dropout sites follow the authors' code
// (asappresearch/sru, branch 3.0.0-dev). Ours: the three parts of U are planes, not interleaved
// (models/srupp/authors_weights.h converts), and layers that do not attend keep no memory.
#pragma once
#include "core/random.h"
#include "models/layer.h"
#include "models/layers/token_layers.h"

namespace tandem {

struct SruppConfig : TokenConfig {
  int64_t d = 512;            // width of the stream
  int64_t d_projected = 128;  // d', width of attention
  int64_t layers = 10;
  int64_t heads = 1;
  int64_t attention_every = 1;  // k: layers k, 2k, ... attend (counting from 1); 0: see attention_last
  int64_t attention_last = 0;   // the last n layers attend; used when attention_every is 0
  double dropout = 0;  // embedding, highway (variational, all layers but the last), before W_o, output
  double attention_dropout = 0;
  double highway_bias = -2;
  int64_t conv_width = 0;  // ours, after Primer: queries, keys and values filtered over time; 0: not

  // As JSON text, as checkpoints keep it. The device is not part of it. Reading: absent fields keep the
  // defaults above; Error: not JSON, an unknown field, a value of another type.
  std::string text() const;
  static SruppConfig from_text(const std::string& text);

  bool attends(int64_t layer) const {  // counting from 0
    return attention_every > 0 ? (layer + 1) % attention_every == 0 : layer >= layers - attention_last;
  }
};

class SruppLayer : public Layer {
 public:
  SruppLayer(const SruppConfig& config, int64_t layer, Random& random);

  // State: the cell state c (B, d), and where the layer attends its input, memory (M, B, d), with conv_width
  // - 1 rows more where there are filters, that no query sees.
  std::vector<std::string> state_names() const override;
  DType waiting_dtype(const std::string& part, DType dtype) const override;
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                 uint32_t site) const override;
  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override;
  double forward_flops(int64_t steps, int64_t memory) const override;

 private:
  Tensor normalize(const Tensor& q, const Tensor& attended, const ForwardOptions& pass, uint32_t site) const;
  Output recur(const Tensor& y, const Tensor& x, const Tensor& c, const ForwardOptions& pass,
               uint32_t site) const;

  class CachingDecoder;

  SruppConfig config_;
  bool attends_;
  bool last_;
  Tensor query_;                            // (d', d)
  Tensor key_value_;                        // (2d', d'): keys first
  Tensor alpha_;                            // (1)
  Tensor query_filter_, key_value_filter_;  // as query_ and key_value_, (..., conv_width); or undefined
  Tensor gain_, bias_;                      // (d')
  Tensor output_;                           // (3d, d'): candidate, forget, reset
  Tensor scan_weight_, scan_bias_;          // (2d): forget, reset
};

// Error: sizes that are not positive, heads that do not divide d', both ways to place attention given.
std::unique_ptr<LanguageModel> make_srupp(const SruppConfig& config, uint64_t seed);

}  // namespace tandem
