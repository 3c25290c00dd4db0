// Sizes and recipes of QRNN. Sources: arXiv 1803.08240 and the authors' commands (salesforce/awd-lstm-lm).
#include "tandem/models/presets.h"

#include "tandem/models/qrnn/qrnn.h"
#include "tandem/models/registry.h"

namespace tandem {
namespace {

std::vector<Preset> qrnn_presets() {
  QrnnConfig laptop;
  laptop.tied = true;
  laptop.layers = 4;
  laptop.d = 384;
  QrnnConfig wikitext;
  set_awd(wikitext, 4, 2500, 0.1, 0.1, 0.1);
  wikitext.cutoffs = {2800, 20000, 76000};
  QrnnConfig penn_treebank;
  set_awd(penn_treebank, 4, 1550, 0.4, 0.3, 0.4);
  return {
      {"laptop", laptop.text(), laptop_recipe(6e-3, 18000), "ours: what five minutes on two cores can buy"},
      {"wt103", wikitext.text(), awd_recipe(60, 140, 172000, 0.25),
       "AWD-QRNN: perplexity 33 on WikiText-103 in 14 epochs; cosine is ours, theirs fell once, tenfold"},
      {"ptb", penn_treebank.text(), awd_recipe(20, 70, 66400, 0.2),
       "AWD-QRNN's sizes: perplexity 58.3 on the Penn Treebank with averaged SGD; Adam and cosine are ours"},
  };
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(qrnn) {
  register_model("qrnn", make_qrnn, qrnn_presets);
}
