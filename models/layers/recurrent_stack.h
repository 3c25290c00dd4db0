// The language model of plain recurrent layers: widths, tying, and dropout between the layers, as in AWD-LSTM
// (Merity, Keskar and Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018, and "An Analysis of
// Neural Language Modeling at Multiple Scales", 2018). It leaves out their dropout of recurrent weights (DropConnect)
// and of whole words (embedding dropout).
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "tandem/core/random.h"
#include "tandem/models/layer.h"
#include "tandem/models/layers/token_layers.h"
#include "tandem/models/presets.h"

namespace tandem {

struct RecurrentStackConfig : TokenConfig {
  int64_t d = 512;          // width of the layers
  int64_t d_embedding = 0;  // width of the embedding and, if the output is tied, of the last layer; 0: d
  int64_t layers = 3;
  double input_dropout = 0;  // of the embedding
  double dropout = 0;        // between layers
  double output_dropout = 0;
  bool variational = false;  // these dropouts draw one mask for all time steps of a segment

  int64_t input_width(int64_t layer) const { return layer == 0 && d_embedding > 0 ? d_embedding : d; }
  int64_t output_width(int64_t layer) const { return tied && layer + 1 == layers ? input_width(0) : d; }

  // The fields of this struct, for the fields() of a configuration.
  void stack_fields(Fields& field);
};

// Makes a model of the layers that `make_layer` returns, counted from 0. Embedding and output rows start
// uniform in (-0.1, 0.1). Error naming `model`: sizes that are not positive, dropout outside [0, 1).
std::unique_ptr<LanguageModel> make_recurrent_stack(
    const std::string& model, const RecurrentStackConfig& config, std::string config_text, Random& random,
    const std::function<std::unique_ptr<Layer>(int64_t layer)>& make_layer);

// Makes a model of layers Cell(input_width, output_width, config, random), under the name of its configuration. Error: as
// above.
template <class Cell, class Config>
std::unique_ptr<LanguageModel> make_recurrent_stack(const Config& config, uint64_t seed) {
  Random random(seed);
  const auto make_layer = [&config, &random](int64_t i) {
    return std::make_unique<Cell>(config.input_width(i), config.output_width(i), config, random);
  };
  return make_recurrent_stack(config.model_name(), config, config.text(), random, make_layer);
}

// Sets the sizes and dropouts of AWD-LSTM and AWD-QRNN, for presets.
void set_awd(RecurrentStackConfig& config, int64_t layers, int64_t d, double input_dropout, double dropout,
             double output_dropout);
// Returns their recipe with Adam and cosine, where the authors use averaged SGD.
Recipe awd_recipe(int64_t batch_size, int64_t unroll, int64_t steps, double clip);

}  // namespace tandem
