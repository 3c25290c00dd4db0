// Stack: a model from a list of layers such as "srupp*8,attention,qrnn", for experiments that mix recurrence
// and attention.
//
// Ours. Layer kinds, each mapping width d to width d:
//     srupp            SRU++ with attention (models/srupp/srupp.h)
//     srupp-projected  SRU++ without attention: U = W_o dropout(LayerNorm(W_q X))
//     sru              SRU (models/sru/sru.h)
//     qrnn             QRNN with fo-pooling and window 2 (models/qrnn/qrnn.h)
//     lstm             LSTM (models/lstm/lstm.h)
//     min-gru          minGRU 2 d wide with a filter of 4 steps, in a residual sum, without the feed-forward layer
//                      of its own model (models/min_gru/min_gru.h)
//     rg-lru           the recurrent layer of Griffin, d wide, in a residual sum (models/griffin/griffin.h)
//     gated-delta      the recurrent layer of Gated DeltaNet with keys and values of d / heads, in a residual sum
//                      (models/gated_deltanet/gated_deltanet.h)
//     attention        self-attention with Transformer-XL's relative positions and memory, in a residual sum
//                      with the norm before it (models/layers/self_attention.h)
//     feed-forward     d -> d_inner -> d with squared ReLU, in a residual sum with the norm before it
//                      (models/layers/feed_forward.h)
// Each layer has the dropout of its own model. qrnn and lstm have none.
#pragma once
#include "tandem/models/layers/token_layers.h"

namespace tandem {

struct StackConfig : Configured<StackConfig> {
  std::string layers = "srupp*4";  // KIND or KIND*COUNT, separated by commas
  int64_t d = 512;
  int64_t d_projected = 128;  // d' of srupp, and of sru (0: sru without projection)
  int64_t heads = 4;       // of attention and gated-delta, and blocks of rg-lru's gates; srupp has one head
  int64_t d_inner = 2048;  // of feed-forward
  double dropout = 0;
  double attention_dropout = 0;
  double highway_bias = -2;  // of srupp and sru

  std::string model_name() const { return "stack"; }
  void fields(Fields& field);
};

// Returns the kind of each layer: "sru*2,attention" is sru, sru, attention. Error naming the place: an
// unknown kind (the known ones are listed), a count that is not a positive number, nothing between two
// commas.
std::vector<std::string> stack_layers(const std::string& text);

// Error: as stack_layers(); sizes that are not positive, heads that do not divide d, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_stack(const StackConfig& config, uint64_t seed);

}  // namespace tandem
