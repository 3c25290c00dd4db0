// SRU++'s sizes and recipes. Sources: arXiv 2102.12459 and the authors' training scripts (asappresearch/sru,
// 3.0.0-dev).
#include "tandem/models/presets.h"

#include <charconv>

#include "tandem/core/check.h"
#include "tandem/models/registry.h"
#include "tandem/models/srupp/srupp.h"

namespace tandem {
namespace {

Preset srupp_preset(const char* name, int64_t d, int64_t d_projected, int64_t layers, double dropout,
                    const Recipe& recipe, const char* about) {
  SruppConfig config;
  config.d = d;
  config.d_projected = d_projected;
  config.layers = layers;
  config.dropout = config.attention_dropout = dropout;
  return {name, config.text(), recipe, about};
}

// The best of two studies with five minutes on two cores in mind (tools/records/2026-11-29-claim.md, 2026-12-01-depth.md). Three
// changes together let attention take part within some three million tokens, where the published model takes a hundred: alpha
// begins at 1, filters hand each position its predecessors, and the highway is open half-way. Muon lets it learn from fewer
// tokens. The last of six layers alone attends, so that a step costs half of what it costs if all of four do.
Preset laptop() {
  Recipe recipe = laptop_recipe(4e-3, 15000);
  recipe.unroll = 128;
  recipe.eval_every = 3000;
  recipe.optimizer = "muon";
  Preset preset =
      srupp_preset("laptop", 320, 80, 6, 0.0, recipe, "ours: what five minutes on two cores can buy");
  SruppConfig config = SruppConfig::from_text(preset.model_config);
  config.attention_every = 0;
  config.attention_last = 1;
  config.alpha = 1;
  config.conv_width = 3;
  config.highway_bias = 0;
  preset.model_config = config.text();
  return preset;
}

// The model as published, in the size that the preset laptop had until version 0.2.
Preset laptop_published() {
  Recipe recipe = laptop_recipe(6e-3, 16000);
  recipe.decay = "all";
  return srupp_preset("laptop-published", 512, 128, 4, 0.0, recipe,
                      "ours: the model as published, in a size for two cores");
}

// As the authors trained it beside Transformer-XL's base (train_enwik8_fp32_dp.py): with the initial rows of their older
// code, no warm-up, and decay of all parameters.
Preset txl_matched() {
  const Recipe recipe = {.batch_size = 24,
                         .unroll = 512,
                         .eval_window = 512,
                         .eval_batch_size = 32,
                         .lr = 2.5e-4,
                         .warmup = 0,
                         .steps = 400000};
  Preset preset = srupp_preset("txl-matched", 1920, 480, 10, 0.1, recipe,
                               "42M, matched to Transformer-XL base: 1.03 bpc on enwik8");
  SruppConfig config = SruppConfig::from_text(preset.model_config);
  config.initial_rows = "vocabulary";
  preset.model_config = config.text();
  return preset;
}

// The recipe of the authors' enwik8 models. Batch sizes are totals over their eight GPUs.
Recipe enwik8_recipe(int64_t batch_size, double lr) {
  return {.batch_size = batch_size,
          .unroll = 1024,
          .eval_window = 3072,
          .eval_batch_size = 16,
          .lr = lr,
          .warmup = 16000,
          .steps = 400000};
}

// Word level: clusters of 1024, 256, 64 and, for WikiText, 16 features. The authors chose the cutoffs so that
// cluster 0 and the logits of the tails together have a round number of rows.
Preset word_preset(const char* name, int64_t d, int64_t d_projected, int64_t every, double dropout,
                   bool wikitext, const Recipe& recipe, const char* about) {
  SruppConfig config;
  config.d = d;
  config.d_projected = d_projected;
  config.attention_every = every;
  config.dropout = dropout;
  config.attention_dropout = wikitext ? dropout : 0;
  config.cluster_dropout = wikitext ? dropout : 0;
  config.cutoffs =
      wikitext ? std::vector<int64_t>{19997, 39997, 199997} : std::vector<int64_t>{59998, 159998};
  config.d_embed = 1024;
  config.div_val = 4;
  config.tied = true;
  config.tie_projs = wikitext ? "all" : "none";
  return {name, config.text(), recipe, about};
}

Recipe wikitext_recipe(int64_t unroll) {
  return {.batch_size = 64,
          .unroll = unroll,
          .eval_window = 2560,
          .eval_batch_size = 16,
          .lr = 3e-4,
          .warmup = 16000,
          .steps = 400000};
}

Recipe lm1b_recipe(int64_t batch_size) {
  return {.batch_size = batch_size,
          .unroll = 64,
          .eval_window = 96,
          .eval_batch_size = 8,
          .lr = 2e-4,
          .warmup = 16000,
          .steps = 800000};
}

std::vector<Preset> srupp_presets() {
  return {
      laptop(),
      laptop_published(),
      txl_matched(),
      srupp_preset("base", 3072, 768, 10, 0.22, enwik8_recipe(32, 3e-4), "108M: 0.974 bpc on enwik8"),
      srupp_preset("large", 4096, 1024, 10, 0.32, enwik8_recipe(64, 4e-4), "191M: 0.96 bpc on enwik8"),
      srupp_preset("large-ratio8", 6016, 752, 10, 0.32, enwik8_recipe(64, 4e-4),
                   "195M: 0.953 bpc on enwik8; its dropout was not published, that of `large` stands in"),
      word_preset("wt103-base", 3072, 768, 1, 0.15, true, wikitext_recipe(768),
                  "148M: perplexity 18.3 on WikiText-103"),
      word_preset("wt103-large", 4096, 1024, 1, 0.2, true, wikitext_recipe(1024),
                  "232M: perplexity 17.4 on WikiText-103"),
      word_preset(
          "wt103-large-ratio8", 5952, 744, 1, 0.2, true, wikitext_recipe(1024),
          "234M: perplexity 17.1 on WikiText-103; its dropout was not published, that of `large` stands in"),
      word_preset("lm1b-base", 4096, 1024, 1, 0.05, false, lm1b_recipe(1024),
                  "328M: perplexity 25.1 on LM1B"),
      word_preset("lm1b-large", 7616, 1024, 5, 0.1, false, lm1b_recipe(1536),
                  "465M: perplexity 23.5 on LM1B"),
  };
}

// "base-k5" is "base" with attention in every fifth layer, "base-k0" without any.
std::optional<PresetVariant> attention_every_variant(const std::string& name) {
  const size_t at = name.rfind("-k");
  if (at == std::string::npos) return {};
  int64_t k = -1;
  const char* const end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + at + 2, end, k);
  if (error != std::errc() || stop != end || k < 0) return {};
  const std::string base = name.substr(0, at);
  return PresetVariant{base, [base, k](Preset& preset) {
                         SruppConfig config = SruppConfig::from_text(preset.model_config);
                         TANDEM_CHECK(k <= config.layers,
                                      "preset: {} asks for attention every {} layers; {} has {} layers",
                                      preset.name, k, base, config.layers);
                         config.attention_every = k;
                         config.attention_last = 0;
                         preset.model_config = config.text();
                       }};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(srupp) {
  register_model(
      "srupp", make_srupp, srupp_presets,
      {attention_every_variant, ", also as NAME-k2, -k5, -k10 (attention every k layers) and -k0 (none)"});
}
