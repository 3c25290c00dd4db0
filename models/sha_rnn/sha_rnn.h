// SHA-RNN (Merity 2019, arXiv 1911.11423): a recurrent layer, one head of attention without projections of
// keys and values, and a feed-forward layer without a second matrix. And SHAQ (Bharwani et al. 2021, arXiv
// 2108.08207), which has a QRNN for the LSTM.
//
// A block, where each LN has a gain and a bias of its own and drop() is dropout:
//
//     h  = drop(LSTM(LN(x)))                                      no residual sum around it
//     in a block that attends:
//         m  = LN(h)       s = LN(h)       C = [memory; m]        memory: m of earlier segments
//         q  = drop(sigmoid(g_q) LN(W_q s + b_q))
//         h  = s + drop(softmax(q (sigmoid(g_k) C)' / sqrt(d) + causal mask) (g_v drop(C)))
//         g_v = sigmoid(f) tanh(c),  [c; f] = W_v sigmoid(g) + b_v          over-parameterised, see below
//     s  = LN(h)           u = LN(h)
//     h  = s + drop(sum of the chunks of drop(gelu(W_b u + b_b)))           "boom": d to d_boom and back
//
// The residual sums start from the normalised h. Gates that stand for the rows of keys and values are
// multiplied into the query and the result instead, which is the same. There are no positions. The paper
// gives the equations; initialisation, memory and dropout sites follow the author's code (Smerity/sha-rnn).
// Ours: no parameters that are never used, of which the author's code has LN_out, q/k/v vectors and a gate
// r; and the length of a training segment does not vary at random.
// SHAQ's paper was not at hand, and there is no code: what replaces the LSTM here is our reconstruction, a
// QRNN layer with fo pooling.
#pragma once
#include "core/random.h"
#include "models/layer.h"
#include "models/layers/residual.h"
#include "models/layers/token_layers.h"

namespace tandem {

struct ShaRnnConfig : TokenConfig {
  ShaRnnConfig() { tied = true; }

  int64_t window = 0;  // 0: SHA-RNN; 1 or 2: SHAQ, with a QRNN of this window
  int64_t d = 1024;
  int64_t d_boom = 4096;
  int64_t layers = 4;
  int64_t attention_blocks = 1;  // those before the last block, or all of them; 1: the last but one
  // Keys that a query sees at most: before a segment of T tokens the memory is cut to max_positions - T rows.
  // For a pass whose AttentionContext.memory is -1; one that says how many rows to keep has its way.
  int64_t max_positions = 5000;
  double dropout = 0;                 // all of the above, and of the embedding and before the output
  bool collapsed_value_gate = false;  // g_v is a parameter itself

  bool attends(int64_t layer) const {
    return attention_blocks == layers || (layer + 1 < layers && layer + 1 >= layers - attention_blocks);
  }
  double deviation() const;  // of the initial values of every matrix but the recurrence's, the author's
  std::string text() const;
  static ShaRnnConfig from_text(const std::string& text);  // the field "model" says which of the two it is
};

class ShaRnnLayer : public Layer {
 public:
  ShaRnnLayer(const ShaRnnConfig& config, int64_t layer, Random& random);

  // That of the LSTM or QRNN, and where the block attends m, memory (M, B, d).
  std::vector<std::string> state_names() const override;
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions& pass,
                 uint32_t site) const override;
  std::unique_ptr<LayerDecoder> decoder(int64_t batch, const AttentionContext& context) const override;
  double forward_flops(int64_t steps, int64_t memory) const override;

  // g_v (d), of g (d), W_v (2d, d) and b_v (2d); without W_v it is the first.
  static Tensor value_gate(const Tensor& gate, const Tensor& weight, const Tensor& bias);

 private:
  std::unique_ptr<Norm> add_norm(const std::string& name);
  void add_attention(Random& random);
  // s + drop(...) above; kv: C and drop(C) side by side.
  Tensor attend(const Tensor& s, const Tensor& kv, const ForwardOptions& pass, uint32_t site) const;
  Tensor boom(const Tensor& h, const ForwardOptions& pass, uint32_t site) const;

  class CachingDecoder;

  ShaRnnConfig config_;
  bool attends_;
  std::unique_ptr<Layer> recurrence_;
  std::unique_ptr<Norm> start_, memory_norm_, attention_norm_, query_norm_, boom_residual_norm_, boom_norm_;
  Tensor query_, query_bias_;                   // (d, d), (d)
  Tensor query_gate_, key_gate_, value_gate_;   // (d)
  Tensor value_gate_weight_, value_gate_bias_;  // (2d, d), (2d); undefined where the gate is collapsed
  Tensor boom_, boom_bias_;                     // (d_boom, d), (d_boom)
};

// Error: sizes that are not positive, a boom narrower than d, more blocks with attention than there are
// blocks, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_sha_rnn(const ShaRnnConfig& config, uint64_t seed);

// The same model with fewer parameters: g_v in place of what it is computed from. For after training. Error:
// no SHA-RNN or SHAQ.
std::unique_ptr<LanguageModel> collapse_value_gates(const LanguageModel& model);

}  // namespace tandem
