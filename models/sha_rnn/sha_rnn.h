// SHA-RNN (Merity 2019, arXiv 1911.11423): a recurrent layer, one head of attention without projections of
// keys and values, and a feed-forward layer without a second matrix. SHAQ (Bharwani et al. 2021, arXiv
// 2108.08207): the same with a QRNN in place of the LSTM.
//
// A block maps x (T, B, d) to h (T, B, d). Each LN has a gain and a bias of its own; drop() is dropout:
//
//     h   = drop(LSTM(LN(x)))                                   without a residual sum
//     in a block that attends:
//         m   = LN(h)        s = LN(h)        C = [memory; m]   memory: m of earlier segments, (M, B, d)
//         q   = drop(sigmoid(g_q) LN(W_q s + b_q))
//         h   = s + drop(softmax(q (sigmoid(g_k) C)^T / sqrt(d) + causal mask) (g_v drop(C)))
//         g_v = sigmoid(f) tanh(c),  [c; f] = W_v sigmoid(g) + b_v
//     s   = LN(h)            u = LN(h)
//     h   = s + drop(sum of the chunks of drop(gelu(W_b u + b_b)))         "boom": d to d_boom and back
//
// The residual sums start from the normalised h. The gates of keys and values are applied to the query and
// to the result instead, which is the same. g_v depends on parameters alone: collapse_value_gates()
// replaces them by g_v. There are no positions.
//
// The equations are the paper's; initial values, memory and dropout sites follow the author's code
// (Smerity/sha-rnn). Ours: parameters that the author's code never uses are left out (an output norm,
// vectors for q, k and v, a gate r), and training segments have a fixed length. We had neither SHAQ's paper
// nor code: what replaces the LSTM here, a QRNN layer with fo-pooling, is our reconstruction.
#pragma once
#include <functional>

#include "tandem/core/random.h"
#include "tandem/models/layer.h"
#include "tandem/models/layers/residual.h"
#include "tandem/models/layers/token_layers.h"

namespace tandem {

struct ShaRnnConfig : Configured<ShaRnnConfig> {
  ShaRnnConfig() { tied = true; }
  // Returns the defaults of sha-rnn or shaq.
  static ShaRnnConfig of(const std::string& model);

  int64_t window = 0;  // 0: SHA-RNN; 1 or 2: SHAQ with a QRNN of this window
  int64_t d = 1024;
  int64_t d_boom = 4096;
  int64_t layers = 4;
  int64_t attention_blocks = 1;  // number of blocks that attend: the last ones before the last block, or all
  // Largest number of keys that a query sees if AttentionContext::memory is -1: before a segment of T
  // tokens the memory is cut to max_positions - T rows.
  int64_t max_positions = 5000;
  double dropout = 0;                 // every drop() above, and dropout of embedding and output
  bool collapsed_value_gate = false;  // g_v is itself a parameter

  bool attends(int64_t layer) const {
    return attention_blocks == layers || (layer + 1 < layers && layer + 1 >= layers - attention_blocks);
  }
  // Returns the standard deviation of the initial values of all matrices but the recurrence's, the author's.
  double deviation() const;
  std::string model_name() const { return window > 0 ? "shaq" : "sha-rnn"; }
  void fields(Fields& field);
};

class ShaRnnLayer : public Layer {
 public:
  ShaRnnLayer(const ShaRnnConfig& config, int64_t layer, Random& random);

  // The parts of the LSTM or QRNN and, in a block that attends, "memory": the last rows of m, (M, B, d).
  std::vector<std::string> state_names() const override;
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& options,
                 uint32_t site) const override;
  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override;
  double forward_flops(int64_t steps, int64_t memory) const override;

  // Computes g_v (d) from g (d), W_v (2d, d) and b_v (2d); an undefined W_v means that g is g_v.
  static Tensor value_gate(const Tensor& gate, const Tensor& weight, const Tensor& bias);

 private:
  std::unique_ptr<Norm> add_norm(const std::string& name);
  void add_attention(Random& random);
  // Computes s + drop(...) above. `attention` gives softmax(...) drop(C) of q.
  Tensor attend(const Tensor& s, const std::function<Tensor(const Tensor& q)>& attention,
                const ForwardOptions& options, uint32_t site) const;
  Tensor boom(const Tensor& h, const ForwardOptions& options, uint32_t site) const;

  class CachingDecoder;

  ShaRnnConfig config_;
  bool attends_;
  std::unique_ptr<Layer> recurrence_;
  std::unique_ptr<Norm> start_, memory_norm_, attention_norm_, query_norm_, boom_residual_norm_, boom_norm_;
  Tensor query_, query_bias_;                   // (d, d), (d)
  Tensor query_gate_, key_gate_, value_gate_;   // (d)
  Tensor value_gate_weight_, value_gate_bias_;  // (2d, d), (2d); undefined: the gate is collapsed
  Tensor boom_, boom_bias_;                     // (d_boom, d), (d_boom)
};

// Error: sizes that are not positive, a boom narrower than d, more blocks with attention than blocks, dropout
// outside [0, 1).
std::unique_ptr<LanguageModel> make_sha_rnn(const ShaRnnConfig& config, uint64_t seed);

// Returns the same model with g_v as a parameter in place of what it is computed from, for use after
// training. Error: the model is neither SHA-RNN nor SHAQ.
std::unique_ptr<LanguageModel> collapse_value_gates(const LanguageModel& model);

}  // namespace tandem
