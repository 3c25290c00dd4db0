// Stack: layers of any kinds one above the other, told by a short text, for who mixes recurrence and
// attention freely: "srupp*8", "sru*3,attention", "qrnn*2,attention,feed-forward,lstm".
//
// Ours. Every layer maps width d to width d:
//     srupp            SRU++ with attention (models/srupp/srupp.h)
//     srupp-projected  SRU++ without attention: U = W_o dropout(LayerNorm(W_q X))
//     sru              SRU (models/sru/sru.h)
//     qrnn             QRNN with fo-pooling and window 2 (models/qrnn/qrnn.h)
//     lstm             LSTM (models/lstm/lstm.h)
//     attention        pre-norm self-attention in a residual sum, with Transformer-XL's relative positions and
//                      memory (models/layers/self_attention.h)
//     feed-forward     d -> d_inner -> d with squared ReLU, pre-norm, in a residual sum (models/layers/feed_forward.h)
// Dropout is that of each layer's own model; a recurrence that has none of its own (qrnn, lstm) gets it from
// the dropout of its neighbours and of embedding and output.
#pragma once
#include "models/layers/token_layers.h"

namespace tandem {

struct StackConfig : TokenConfig {
  std::string layers = "srupp*4";  // KIND or KIND*COUNT, with commas between
  int64_t d = 512;
  int64_t d_projected = 128;  // d' of srupp; of sru too where positive (0: no projection)
  int64_t heads = 4;          // of attention; srupp has one
  int64_t d_inner = 2048;     // of feed-forward
  double dropout = 0;
  double attention_dropout = 0;
  double highway_bias = -2;  // of srupp and sru

  std::string text() const;
  static StackConfig from_text(const std::string& text);
};

// The kinds of a text, one for each layer: "sru*2,attention" is sru, sru, attention. Error: an unknown kind
// (the known ones are listed), a count that is not a positive number, nothing between two commas; the place
// is named.
std::vector<std::string> stack_layers(const std::string& text);

// Error: as stack_layers(); sizes that are not positive, heads that do not divide d.
std::unique_ptr<LanguageModel> make_stack(const StackConfig& config, uint64_t seed);

}  // namespace tandem
