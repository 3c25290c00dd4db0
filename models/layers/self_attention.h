// Self-attention, the sub-layer that all transformers here share, in a residual sum.
//
// Relative: Transformer-XL (Dai et al., ACL 2019, arXiv 1901.02860), sections 3.2 and 3.3. x (T, B, d) is
// the input, n is x or its norm, memory (M, B, d) the last rows of x before the segment, P the sinusoids of
// the distances, e = d_head:
//     q = n W_q,   [k, v] = [memory; n] W_kv,   r = P W_r
//     score(i, j) = ((q_i + u) k_j + (q_i + v) r_{i-j}) / sqrt(e)
// The memory has no gradient but is projected again in each segment, so that the weights get gradients
// through it. In evaluation with same_length every query sees as many keys as the memory has rows, itself
// included, as in the authors' code.
// With a window, local attention, the memory keeps no more rows than that.
// Absolute: no memory and no r; positions are part of x (models/layers/positions.h).
//
// Options of Primer (So et al., NeurIPS 2021, arXiv 2109.08668):
//     conv_width   q, k and v are filtered over time after their projections, one filter per channel. Ours:
//                  the memory holds conv_width - 1 more rows, for the filters alone, so that segments and
//                  generation give the same result as one long pass.
//     shared_qk    k = conv(n W_q) and q = k W_s: keys have no projection of their own
#pragma once
#include "tandem/models/layers/positions.h"
#include "tandem/models/layers/residual.h"

namespace tandem {

struct SelfAttentionConfig {
  int64_t d = 0, heads = 1, d_head = 0;
  bool relative = true;
  bool bias = false;       // biases of the projections
  int64_t window = 0;      // relative only: number of keys that a query sees at most; 0: no limit
  int64_t conv_width = 0;  // 0: no filters
  bool shared_qk = false;
  double attention_dropout = 0;
  ResidualConfig residual;  // residual.dropout also drops sinusoids, with one mask for all layers
};

class SelfAttention : public Layer {
 public:
  // u and v are shared with the layer `same_bias`; null: they are the layer's own. Error: sizes that are not
  // positive.
  SelfAttention(const SelfAttentionConfig& config, std::shared_ptr<const Sinusoids> sinusoids,
                InitialValues& values, const SelfAttention* same_bias = nullptr);

  // Relative: "memory" (M, B, d), with filters M + conv_width - 1 rows. Absolute: none.
  std::vector<std::string> state_names() const override;
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override;
  double forward_flops(int64_t steps, int64_t memory) const override;

 private:
  class CachingDecoder;

  int64_t width() const { return config_.heads * config_.d_head; }
  // Returns the context with a memory of at most `window` rows, for segments of `steps` tokens.
  AttentionContext within_window(AttentionContext context, int64_t steps) const;
  // Weight, bias and filter that give keys and values side by side.
  Tensor pair_weight() const;
  Tensor pair_bias() const;
  Tensor pair_filter() const;
  // Returns r, the projected sinusoids of distances 0, 1, ..., keys - 1, or up to `clamp` if that is
  // positive; dtype and device are those of `like`.
  Tensor distances(int64_t keys, int64_t clamp, const Tensor& like, const ForwardOptions& options) const;
  // Projects the attended values and adds them to x.
  Tensor finish(const Tensor& x, const Tensor& attended, const ForwardOptions& options, uint32_t site) const;

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
