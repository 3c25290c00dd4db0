// SRU's sizes and recipes. Sources: arXiv 1709.02755 and the authors' training scripts
// (asappresearch/sru, 2.x).
#include "tandem/models/presets.h"

#include "tandem/models/registry.h"
#include "tandem/models/sru/sru.h"

namespace tandem {
namespace {

// Number of distinct bytes in enwik8. It is the width of the embedding unless the authors' command sets one.
constexpr int64_t kVocabulary = 205;
constexpr int64_t kTrainBytes = 90000000;  // of enwik8

Preset enwik8(const char* name, int64_t layers, int64_t d, int64_t d_projected, int64_t d_embedding,
              double dropout, const Recipe& recipe, const char* about) {
  SruConfig config;
  config.layers = layers;
  config.d = d;
  config.d_projected = d_projected;
  config.d_embedding = d_embedding;
  config.dropout = dropout;
  return {name, config.text(), recipe, about};
}

// 100 epochs of enwik8.
Recipe enwik8_recipe(int64_t batch_size, int64_t unroll, int64_t d) {
  return {.batch_size = batch_size,
          .unroll = unroll,
          .eval_window = unroll,
          .eval_batch_size = 16,
          .optimizer = "adamw",
          .schedule = "noam",
          .lr = 3,
          .warmup = 32000,
          .steps = 100 * kTrainBytes / (batch_size * unroll),
          .noam_width = d,
          .weight_decay = 1e-7,
          .clip = 0.3};
}

std::vector<Preset> sru_presets() {
  SruConfig laptop;
  laptop.d = 512;
  laptop.layers = 4;
  laptop.highway_bias = -2;
  return {
      {"laptop", laptop.text(), laptop_recipe(6e-3, 16000), "ours: what five minutes on two cores can buy"},
      enwik8("enwik8", 12, 2048, 512, 256, 0.3, enwik8_recipe(64, 256, 2048),
             "49M, by the authors' count 47M: 1.19 bpc on enwik8"),
      enwik8("enwik8-3056", 8, 3056, 512, kVocabulary, 0.3, enwik8_recipe(128, 100, 3056), "47M"),
      enwik8("enwik8-1312", 8, 1312, 0, kVocabulary, 0.2, enwik8_recipe(128, 100, 1312), "37M"),
      enwik8("enwik8-1152", 10, 1152, 0, kVocabulary, 0.2, enwik8_recipe(128, 100, 1152), "37M")};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(sru) {
  register_model("sru", make_sru, sru_presets);
}
