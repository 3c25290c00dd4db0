// The table of presets. Sources: arXiv 2102.12459 and the authors' training scripts
// (asappresearch/sru, 3.0.0-dev).
#include "models/presets.h"

#include <charconv>

#include "core/check.h"
#include "models/sru.h"
#include "models/srupp.h"

namespace tandem {
namespace {

struct SruppPreset {
  const char* name;
  int64_t d, d_projected, layers;
  double dropout;
  Recipe recipe;
  const char* about;
};

// The recipe that the authors' enwik8 models share. Batches are totals over their eight GPUs.
Recipe enwik8_recipe(int64_t batch_size, double lr) {
  return {.batch_size = batch_size,
          .unroll = 1024,
          .eval_window = 3072,
          .eval_batch_size = 16,
          .lr = lr,
          .warmup = 16000,
          .steps = 400000};
}

const std::vector<SruppPreset>& srupp_presets() {
  static const Recipe laptop = {.batch_size = 8,
                                .unroll = 64,
                                .eval_window = 256,
                                .eval_batch_size = 16,
                                .lr = 6e-3,
                                .warmup = 100,
                                .steps = 16000,
                                .eval_every = 4000,
                                .eval_bytes = 400000};
  static const Recipe txl_matched = {.batch_size = 24,
                                     .unroll = 512,
                                     .eval_window = 512,
                                     .eval_batch_size = 32,
                                     .lr = 2.5e-4,
                                     .warmup = 0,
                                     .steps = 400000};
  static const std::vector<SruppPreset> presets = {
      {"laptop", 512, 128, 4, 0.0, laptop, "ours: what five minutes on two cores can buy"},
      {"txl-matched", 1920, 480, 10, 0.1, txl_matched,
       "42M, matched to Transformer-XL base: 1.03 bpc on enwik8"},
      {"base", 3072, 768, 10, 0.22, enwik8_recipe(32, 3e-4), "108M: 0.974 bpc on enwik8"},
      {"large", 4096, 1024, 10, 0.32, enwik8_recipe(64, 4e-4), "191M: 0.96 bpc on enwik8"},
      {"large-ratio8", 6016, 752, 10, 0.32, enwik8_recipe(64, 4e-4),
       "195M: 0.953 bpc on enwik8; its dropout was not published, that of `large` stands in"},
  };
  return presets;
}

Preset sru_preset() {
  SruConfig config;
  config.d = 2048;
  config.d_projected = 512;
  config.layers = 12;
  config.dropout = 0.3;
  Preset preset{"sru", config.text(), enwik8_recipe(64, 3e-4),
                "47M, 12 x 2048 with projection 512; sizes by the SRU authors, schedule ours"};
  preset.recipe.unroll = preset.recipe.eval_window = 256;
  preset.recipe.clip = 0.3;
  return preset;
}

// Takes "-k5" off the name's end; -1 when there is none.
int64_t take_attention_every(std::string& name) {
  const size_t at = name.rfind("-k");
  if (at == std::string::npos) return -1;
  int64_t k = -1;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + at + 2, end, k);
  if (error != std::errc() || stop != end || k < 0) return -1;
  name.resize(at);
  return k;
}

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const SruppPreset& known : srupp_presets()) names.emplace_back(known.name);
  names.emplace_back("sru");
  return names;
}

Preset preset(const std::string& name) {
  std::string base = name;
  const int64_t every = take_attention_every(base);
  if (base == "sru" && every < 0) return sru_preset();
  for (const SruppPreset& known : srupp_presets()) {
    if (base != known.name) continue;
    CHECK(every <= known.layers, "preset: {} asks for attention every {} layers; {} has {} layers", name,
          every, base, known.layers);
    SruppConfig config;
    config.d = known.d;
    config.d_projected = known.d_projected;
    config.layers = known.layers;
    config.dropout = known.dropout;
    config.attention_dropout = known.dropout;
    if (every >= 0) config.attention_every = every;
    return {name, config.text(), known.recipe, known.about};
  }
  detail::fail(
      "preset: {} is not known; there are {}, and the SRU++ ones also as NAME-k2, -k5, -k10 (attention every "
      "k "
      "layers) and -k0 (none)",
      name, fmt::join(preset_names(), ", "));
}

}  // namespace tandem
