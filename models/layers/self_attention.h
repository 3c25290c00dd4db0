// Self-attention, the sub-layer that all transformers here share, in a residual sum.
//
// Relative: Transformer-XL (Dai et al., ACL 2019, arXiv 1901.02860), sections 3.2 and 3.3. With n the layer's
// input x, or its norm, c = [memory; n] and P the sinusoids of the distances:
//     q = n W_q,   [k, v] = c W_kv,   r = P W_r
//     score(i, j) = ((q_i + u) k_j + (q_i + v) r_{i-j}) / sqrt(e)
// The memory holds x itself, the last rows of it, without gradient, and is projected again each segment. In
// evaluation every query sees as many keys as the memory has rows, its own included, as in the authors' code;
// what they project and throw away, the queries of the memory, is not computed.
// Absolute: no memory and no r; positions are in x (models/layers/positions.h).
//
// Options of Primer (So et al., NeurIPS 2021, arXiv 2109.08668):
//     conv_width   q, k and v are filtered over time after their projections, each channel for itself. Beside
//                  memory (ours) the filters need rows before it: it holds conv_width - 1 more, that no query
//                  sees. So segments and generation give what one long pass gives.
//     shared_qk    k = conv(n W_q), and q = k W_s: no projection of its own for keys
#pragma once
#include "models/layers/positions.h"
#include "models/layers/residual.h"

namespace tandem {

struct SelfAttentionConfig {
  int64_t d = 0, heads = 1, d_head = 0;
  bool relative = true;
  bool bias = false;       // of the projections
  int64_t conv_width = 0;  // 0: no convolution
  bool shared_qk = false;
  double attention_dropout = 0;
  ResidualConfig residual;  // its dropout is also that of the sinusoids, one mask for all layers
};

class SelfAttention : public Layer {
 public:
  // u and v are those of `same_bias`, or the layer's own. Error: sizes that are not positive.
  SelfAttention(const SelfAttentionConfig& config, std::shared_ptr<const Sinusoids> sinusoids,
                InitialValues& values, const SelfAttention* same_bias = nullptr);

  // Relative: memory (M, B, d), or M + conv_width - 1 rows.
  std::vector<std::string> state_names() const override;
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                 uint32_t site) const override;
  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override;
  double forward_flops(int64_t steps, int64_t memory) const override;

 private:
  class CachingDecoder;

  int64_t width() const { return config_.heads * config_.d_head; }
  // Of keys and values.
  Tensor pair_weight() const;
  Tensor pair_bias() const;
  Tensor pair_filter() const;
  // Projected sinusoids of distances 0, 1, ... as far as `keys` need them and `clamp` lets them differ.
  Tensor distances(int64_t keys, int64_t clamp, const Tensor& like, const ForwardOptions& pass) const;
  Tensor finish(const Tensor& x, const Tensor& attended, const ForwardOptions& pass, uint32_t site) const;

  SelfAttentionConfig config_;
  std::shared_ptr<const Sinusoids> sinusoids_;
  Residual residual_;
  Tensor query_, query_bias_;            // (H e, d), (H e); with shared_qk they make the keys
  Tensor pair_, pair_bias_;              // (2 H e, d), keys first; with shared_qk (H e, d), values
  Tensor shared_;                        // (H e, H e): W_s
  Tensor query_filter_, pair_filter_;    // as query_ and pair_, (..., conv_width)
  Tensor position_;                      // (H e, d): W_r
  Tensor content_bias_, position_bias_;  // (H e): u, v
  Tensor output_, output_bias_;          // (d, H e), (d)
};

}  // namespace tandem
