// Sizes and recipes of LSTM and QRNN. Sources: arXiv 1803.08240 and the authors' commands
// (salesforce/awd-lstm-lm); their dropout of weights, and SGD with averaging, are not here.
#include "models/lstm/lstm.h"
#include "models/presets.h"
#include "models/qrnn/qrnn.h"

namespace tandem {
namespace {

// AWD-LSTM and AWD-QRNN.
template <class Config>
Config awd(int64_t layers, int64_t d, double input_dropout, double dropout, double output_dropout) {
  Config config;
  config.tied = true;
  config.layers = layers;
  config.d = d;
  config.d_embedding = 400;
  config.input_dropout = input_dropout;
  config.dropout = dropout;
  config.output_dropout = output_dropout;
  config.variational = true;
  return config;
}

Recipe awd_recipe(int64_t batch_size, int64_t unroll, int64_t steps, double clip) {
  return {.batch_size = batch_size,
          .unroll = unroll,
          .eval_window = unroll,
          .eval_batch_size = 10,
          .optimizer = "adamw",
          .lr = 1e-3,
          .steps = steps,
          .weight_decay = 0,
          .clip = clip};
}

template <class Config>
Preset laptop(const char* model, int64_t layers, int64_t d, int64_t steps, const char* about) {
  Config config;
  config.tied = true;
  config.layers = layers;
  config.d = d;
  return {model, "laptop", config.text(), laptop_recipe(6e-3, steps), about};
}

}  // namespace

std::vector<Preset> lstm_presets() {
  return {
      laptop<LstmConfig>("lstm", 2, 384, 16000, "ours: what five minutes on two cores can buy"),
      {"lstm", "enwik8", awd<LstmConfig>(3, 1840, 0.1, 0.1, 0.4).text(), awd_recipe(128, 200, 175800, 0.25),
       "47M, AWD-LSTM's sizes and batches: 1.232 bpc on enwik8 with its dropout of weights; cosine is ours"},
  };
}

std::vector<Preset> qrnn_presets() {
  QrnnConfig wikitext = awd<QrnnConfig>(4, 2500, 0.1, 0.1, 0.1);
  wikitext.cutoffs = {2800, 20000, 76000};
  return {
      laptop<QrnnConfig>("qrnn", 4, 384, 18000, "ours: what five minutes on two cores can buy"),
      {"qrnn", "wt103", wikitext.text(), awd_recipe(60, 140, 172000, 0.25),
       "AWD-QRNN: perplexity 33 on WikiText-103 in 14 epochs; cosine is ours, theirs fell once, tenfold"},
      {"qrnn", "ptb", awd<QrnnConfig>(4, 1550, 0.4, 0.3, 0.4).text(), awd_recipe(20, 70, 66400, 0.2),
       "AWD-QRNN's sizes: perplexity 58.3 on the Penn Treebank with averaged SGD; Adam and cosine are ours"},
  };
}

}  // namespace tandem
