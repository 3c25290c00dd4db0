// SRU's sizes and recipes. Sources: arXiv 1709.02755 and the authors' training scripts
// (asappresearch/sru, 2.x).
#include "models/presets.h"
#include "models/sru.h"

namespace tandem {

std::vector<Preset> sru_presets() {
  SruConfig laptop;
  laptop.d = 512;
  laptop.layers = 4;
  laptop.highway_bias = -2;
  const Recipe laptop_recipe = {.batch_size = 8,
                                .unroll = 64,
                                .eval_window = 256,
                                .eval_batch_size = 16,
                                .lr = 6e-3,
                                .warmup = 100,
                                .steps = 16000,
                                .eval_every = 4000,
                                .eval_bytes = 400000};
  SruConfig enwik8;
  enwik8.d = 2048;
  enwik8.d_projected = 512;
  enwik8.layers = 12;
  enwik8.dropout = 0.3;
  const Recipe enwik8_recipe = {.batch_size = 64,
                                .unroll = 256,
                                .eval_window = 256,
                                .eval_batch_size = 16,
                                .lr = 3e-4,
                                .warmup = 16000,
                                .steps = 400000,
                                .clip = 0.3};
  return {{"sru", "laptop", laptop.text(), laptop_recipe, "ours: SRU++'s laptop without attention"},
          {"sru", "enwik8", enwik8.text(), enwik8_recipe,
           "47M, 12 x 2048 with projection 512: sizes by the SRU authors, schedule ours"}};
}

}  // namespace tandem
