// What language models of plain recurrent layers share: widths, tying, and dropout between the layers.
#pragma once
#include <functional>

#include "core/random.h"
#include "models/layer.h"
#include "models/layers/token_layers.h"

namespace tandem {

// As in AWD-LSTM: Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models" (ICLR 2018)
// and "An Analysis of Neural Language Modeling at Multiple Scales" (2018). Its dropout of weights and of
// whole words is not here.
struct RecurrentStackConfig : TokenConfig {
  int64_t d = 512;          // width of the layers
  int64_t d_embedding = 0;  // 0: d. Where the output is tied, of the last layer's output too
  int64_t layers = 3;
  double input_dropout = 0;  // of the embedding
  double dropout = 0;        // between layers
  double output_dropout = 0;
  bool variational = false;  // these dropouts draw one mask for all time steps of a segment

  int64_t input_width(int64_t layer) const { return layer == 0 && d_embedding > 0 ? d_embedding : d; }
  int64_t output_width(int64_t layer) const { return tied && layer + 1 == layers ? input_width(0) : d; }
};

// The fields of RecurrentStackConfig, for models/config_fields.h.
template <class Visitor, class Config>
void visit_recurrent_stack(Visitor& v, Config& c) {
  visit_tokens(v, c);
  v("d", c.d);
  v("d_embedding", c.d_embedding);
  v("layers", c.layers);
  v("input_dropout", c.input_dropout);
  v("dropout", c.dropout);
  v("output_dropout", c.output_dropout);
  v("variational", c.variational);
}

// The model of the layers that `make_layer` makes, counting from 0. Rows at both ends start uniform within
// 0.1. Error naming `kind`: sizes that are not positive, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_recurrent_stack(
    const std::string& kind, const RecurrentStackConfig& config, std::string config_text, Random& random,
    const std::function<std::unique_ptr<Layer>(int64_t layer)>& make_layer);

}  // namespace tandem
