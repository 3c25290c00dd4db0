// Sizes and recipes of LSTM. Sources: arXiv 1803.08240 and the authors' commands (salesforce/awd-lstm-lm).
#include "tandem/models/presets.h"

#include "tandem/models/lstm/lstm.h"
#include "tandem/models/registry.h"

namespace tandem {
namespace {

std::vector<Preset> lstm_presets() {
  LstmConfig laptop;
  laptop.tied = true;
  laptop.layers = 2;
  laptop.d = 384;
  LstmConfig enwik8;
  set_awd(enwik8, 3, 1840, 0.1, 0.1, 0.4);
  return {
      {"laptop", laptop.text(), laptop_recipe(6e-3, 16000), "ours: what five minutes on two cores can buy"},
      {"enwik8", enwik8.text(), awd_recipe(128, 200, 175800, 0.25),
       "47M, AWD-LSTM's sizes and batches: 1.232 bpc on enwik8 with its dropout of weights; cosine is ours"},
  };
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(lstm) {
  register_model("lstm", make_lstm, lstm_presets);
}
