// SRU++ (Lei, EMNLP 2021, arXiv 2102.12459): attention inside the linear map of a fast recurrence.
//
// In an SRU layer the only matrix product, U = W X, is computed for all time steps at once; what remains for
// each step in turn is elementwise, and fast. SRU++ replaces that product by attention in a narrower width d'.
// The recurrence knows the order of the tokens, so that attention needs no positions; there is no feed-forward
// layer, and one head is enough.
//
// A layer maps X (T, B, d) to h (T, B, d). Mem (M, B, d) holds the last rows of its input before this segment,
// without gradient. Products apply to the last axis:
//
//     Z      = W_q [Mem; X]                            (M + T, B, d')   projected down; all rows, Mem and X
//     Q      = Z[M:]                                   (T, B, d')       its rows of X: queries, and residual
//     [K; V] = W_kv Z                                  (M + T, B, 2d')  keys and values, from Z and not from X
//     A      = softmax(Q K^T / sqrt(d' / heads)) V     (T, B, d')       query t sees keys 0 .. M + t
//     Y      = LayerNorm(Q + alpha A)                  (T, B, d')
//     U      = W_o dropout(Y)                          (T, B, 3d)       projected up, to planes u_c, u_f, u_r
//
//     f_t = sigmoid(u_f + v_f c_{t-1} + b_f)           (B, d)           forget gate
//     r_t = sigmoid(u_r + v_r c_{t-1} + b_r)           (B, d)           reset gate; it, too, sees c_{t-1}
//     c_t = f_t c_{t-1} + (1 - f_t) u_c                (B, d)           cell state
//     h_t = m r_t c_t + (1 - m r_t) x_t                (B, d)           m: dropout mask, one for all steps
//
// The residual of attention is Q, that of the layer the highway x_t; there are no others. A layer without
// attention ("projected") has no memory and Y = LayerNorm(W_q X) or, with a short convolution (ours, as in
// Griffin), Y = LayerNorm(filter(W_q X)). Evaluation with same_length shows each query the last M + 1 keys only. A
// tap hears alpha (1) of each layer that attends.
//
// Parameters by name, and their initial values. Xavier: uniform with variance 2 / (rows + columns).
//
//     query.weight       W_q   (d', d)     Xavier
//     key_value.weight   W_kv  (2d', d')   Xavier, as one matrix; keys first
//     query.filter,            (d', w)     with filters of width w: 1/2 for a row itself, 1/(2 w) for each before it
//     key_value.filter         (2d', w)    the same; where a layer attends
//     alpha                    (1)         `alpha`; at 0 a new layer is an SRU whose product has rank d'
//     norm.gain, .bias         (d')        1, 0
//     output.weight      W_o   (3d, d')    Xavier times sqrt(1 - dropout); planes u_c, u_f, u_r
//     scan.weight        v     (2d)        uniform in (-1, 1); v_f, then v_r
//     scan.bias          b     (2d)        b_f = 0, b_r = highway_bias: at -2 the highway dominates at first
//
// That is 4 d d' + 2 d'^2 + 2 d' + 1 + 4 d parameters a layer, and 2 d'^2 + 1 fewer without attention.
// Embedding and output rows are untied by default and uniform with standard deviation 1 / sqrt(d) or, with
// initial_rows "vocabulary", 1 / sqrt(V), as the authors had it in their comparison with Transformer-XL.
//
// The equations are the paper's; initial values, dropout sites and the memory of layer inputs follow the
// authors' code (asappresearch/sru, branch 3.0.0-dev). Ours: U has one plane after the other where theirs are
// interleaved (authors_weights.h converts), and layers that do not attend keep no memory.
#pragma once
#include "tandem/core/random.h"
#include "tandem/models/layer.h"
#include "tandem/models/layers/token_layers.h"

namespace tandem {

struct SruppConfig : Configured<SruppConfig> {
  int64_t d = 512;            // width of X and h
  int64_t d_projected = 128;  // d', width of attention
  int64_t layers = 10;
  int64_t heads = 1;            // must divide d'
  int64_t attention_every = 1;  // k: layers k, 2k, ... attend, counting from 1; 0: see attention_last
  int64_t attention_last = 0;   // n: the last n layers attend, if attention_every is 0
  double dropout = 0;  // of embedding, Y, the highway (mask m, in all layers but the last) and output
  double attention_dropout = 0;  // of the attention weights
  double highway_bias = -2;
  double alpha = 0;  // of a new layer; from 1 on, small models learn to attend much earlier (ours)
  std::string initial_rows = "width";  // variance of embedding and output rows: 1 / d; "vocabulary": 1 / V
  int64_t conv_width = 0;              // ours, after Primer: width of causal filters over Q, K and V; 0: none
  int64_t short_conv_width = 0;        // ours, as in Griffin: the same over Q where a layer does not attend

  std::string model_name() const { return "srupp"; }
  void fields(Fields& field);

  // Returns whether a layer, counted from 0, attends.
  bool attends(int64_t layer) const {
    return attention_every > 0 ? (layer + 1) % attention_every == 0 : layer >= layers - attention_last;
  }
};

class SruppLayer : public Layer {
 public:
  SruppLayer(const SruppConfig& config, int64_t layer, Random& random);

  // "c": the cell state (B, d). In layers that attend also "memory": the last inputs (M, B, d), with filters
  // (M + conv_width - 1, B, d), of which the first rows are for the filters alone. Memory is projected again
  // in each segment, so that W_q and W_kv get gradients through it.
  std::vector<std::string> state_names() const override;
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  // Keeps K and V, which are then projected once.
  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override;
  double forward_flops(int64_t steps, int64_t memory) const override;

 private:
  class CachingDecoder;

  // Computes dropout(Y) from Q and A; A is undefined in a layer without attention.
  Tensor normalize(const Tensor& q, const Tensor& attended, const ForwardOptions& options,
                   uint32_t site) const;
  // Runs the recurrence of U = W_o y with the skip x from the cell state c.
  Output recur(const Tensor& y, const Tensor& x, const Tensor& c, const ForwardOptions& options,
               uint32_t site) const;

  SruppConfig config_;
  bool attends_;
  bool last_;                               // of the stack: no dropout of the highway
  Tensor query_;                            // W_q (d', d)
  Tensor key_value_;                        // W_kv (2d', d')
  Tensor alpha_;                            // (1)
  Tensor query_filter_, key_value_filter_;  // (d', conv_width), (2d', conv_width); undefined: no filters
  Tensor gain_, bias_;                      // (d')
  Tensor output_;                           // W_o (3d, d')
  Tensor scan_weight_, scan_bias_;          // (2d)
};

// Error: sizes that are not positive, heads that do not divide d', both ways to place attention given,
// dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_srupp(const SruppConfig& config, uint64_t seed);

}  // namespace tandem
