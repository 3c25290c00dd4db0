// Sizes and recipes of transformers. Sources: arXiv 1901.02860 and the authors' scripts
// (kimiyoung/transformer-xl, pytorch/), arXiv 1809.10853 and fairseq's command for it, arXiv 2109.08668 and
// the authors' configurations.
#include "tandem/models/presets.h"

#include "tandem/models/registry.h"
#include "tandem/models/transformer/transformer.h"

namespace tandem {
namespace {

TransformerConfig sized(const char* model, int64_t layers, int64_t d, int64_t heads, int64_t d_head,
                        int64_t d_inner) {
  TransformerConfig config = TransformerConfig::of(model);
  config.layers = layers;
  config.d = d;
  config.heads = heads;
  config.d_head = d_head;
  config.d_inner = d_inner;
  return config;
}

Preset preset_of(const char* name, const TransformerConfig& config, const Recipe& recipe, const char* about) {
  return {name, config.text(), recipe, about};
}

// A Transformer-XL, with one rate of dropout for everything but the attention weights.
TransformerConfig xl(int64_t layers, int64_t d, int64_t heads, int64_t d_head, int64_t d_inner,
                     double dropout, double attention_dropout) {
  TransformerConfig config = sized("transformer-xl", layers, d, heads, d_head, d_inner);
  config.dropout = config.inner_dropout = config.output_dropout = dropout;
  config.attention_dropout = attention_dropout;
  return config;
}

// Adds clusters of words, each with 1 / div_val of the features of the one before. Output rows are tied to the
// embedding's.
TransformerConfig clustered(TransformerConfig config, std::vector<int64_t> cutoffs, int64_t div_val,
                            const char* tie_projs) {
  config.tied = true;
  config.cutoffs = std::move(cutoffs);
  config.div_val = div_val;
  config.tie_projs = tie_projs;
  return config;
}

const std::vector<int64_t> kWikitextCutoffs = {20000, 40000, 200000};
const std::vector<int64_t> kLm1bCutoffs = {60000, 100000, 640000};

struct Evaluation {
  int64_t window, memory, clamp;
};

// Adam without weight decay, cosine to zero, memory as long as a segment.
Recipe xl_recipe(int64_t batch_size, int64_t unroll, const Evaluation& evaluation, int64_t warmup,
                 int64_t steps) {
  return {.batch_size = batch_size,
          .unroll = unroll,
          .eval_window = evaluation.window,
          .eval_memory = evaluation.memory,
          .eval_clamp = evaluation.clamp,
          .eval_batch_size = 10,
          .optimizer = "adamw",
          .lr = 2.5e-4,
          .warmup = warmup,
          .steps = steps,
          .weight_decay = 0,
          .clip = 0.25,
          .eval_every = 4000};
}

std::vector<Preset> xl_presets() {
  return {
      preset_of("laptop", xl(4, 192, 4, 48, 768, 0, 0), laptop_attention_recipe(1e-3),
                "ours: what five minutes on two cores can buy"),
      preset_of("base", xl(12, 512, 8, 64, 2048, 0.1, 0), xl_recipe(22, 512, {80, 2100, 820}, 0, 400000),
                "41M: 1.06 bpc on enwik8"),
      preset_of("large", xl(24, 1024, 8, 128, 3072, 0.15, 0.15),
                xl_recipe(64, 768, {128, 3800, 1000}, 4000, 400000), "277M: 0.99 bpc on enwik8"),
      preset_of("wt103-base", clustered(xl(16, 410, 10, 41, 2100, 0.1, 0), kWikitextCutoffs, 1, "none"),
                xl_recipe(60, 150, {64, 640, 400}, 0, 200000), "151M: perplexity 24.0 on WikiText-103"),
      preset_of("wt103-large", clustered(xl(18, 1024, 16, 64, 4096, 0.2, 0.2), kWikitextCutoffs, 4, "tails"),
                xl_recipe(128, 384, {128, 1600, 1000}, 16000, 4000000),
                "285M: perplexity 18.3 on WikiText-103"),
      preset_of("lm1b-base", clustered(xl(18, 1024, 8, 128, 4096, 0, 0), kLm1bCutoffs, 4, "none"),
                xl_recipe(224, 32, {32, 128, 0}, 20000, 500000), "perplexity 23.5 on LM1B"),
      preset_of("lm1b-large", clustered(xl(24, 1280, 16, 80, 8192, 0.05, 0.05), kLm1bCutoffs, 4, "none"),
                xl_recipe(512, 32, {32, 128, 0}, 30000, 1200000), "perplexity 21.8 on LM1B"),
  };
}

std::vector<Preset> baevski_presets() {
  TransformerConfig wt103 =
      clustered(sized("transformer", 16, 1024, 8, 128, 4096), {20000, 60000}, 4, "tails");
  wt103.adaptive = "baevski";
  wt103.cluster_dropout = 0.2;
  wt103.dropout = 0.3;
  wt103.attention_dropout = wt103.inner_dropout = 0.1;
  // One row on each of eight GPUs, three batches per update.
  const Recipe recipe = {.batch_size = 8,
                         .unroll = 3072,
                         .accumulate = 3,
                         .eval_window = 512,
                         .eval_memory = 2560,
                         .eval_batch_size = 1,
                         .optimizer = "nag",
                         .schedule = "cosine-cycles",
                         .lr = 1,
                         .lr_floor = 1e-4,
                         .warmup = 16000,
                         .steps = 286000,
                         .cycle = 270000,
                         .cycle_growth = 2,
                         .cycle_shrink = 0.75,
                         .weight_decay = 0,
                         .clip = 0.1};
  // Positions beyond those of training mean nothing to the model. Evaluation reads half a segment again and
  // scores the other half.
  Recipe laptop = laptop_attention_recipe(2e-3);
  laptop.unroll = 128;
  laptop.eval_window = laptop.eval_memory = 64;
  return {preset_of("laptop", sized("transformer", 4, 192, 4, 48, 768), laptop,
                    "ours: Transformer-XL's laptop without memory, norm before"),
          preset_of("wt103", wt103, recipe, "247M: perplexity 18.7 on WikiText-103")};
}

// The authors' language models in T5's code, whose batches are 65,536 sub-word tokens. The optimizer is ours;
// theirs was Adafactor.
std::vector<Preset> primer_presets(const char* model) {
  const Recipe recipe = {.batch_size = 128,
                         .unroll = 512,
                         .eval_window = 512,
                         .eval_batch_size = 16,
                         .optimizer = "adamw",
                         .schedule = "rsqrt",
                         .lr = 1e-3,
                         .warmup = 10000,
                         .steps = 1000000,
                         .weight_decay = 0};
  return {preset_of("laptop", sized(model, 4, 192, 4, 48, 768), laptop_attention_recipe(2e-3),
                    "ours: Transformer-XL's laptop with Primer's changes"),
          preset_of("small", sized(model, 6, 512, 8, 64, 2048), recipe,
                    "the authors' sizes for LM1B, recipe ours"),
          preset_of("medium", sized(model, 12, 768, 12, 64, 3072), recipe,
                    "the authors' sizes for C4 and PG19, recipe ours"),
          preset_of("large", sized(model, 24, 1024, 16, 64, 8192), recipe,
                    "the authors' sizes for C4, recipe ours")};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(transformer) {
  register_model("transformer", make_transformer, baevski_presets);
  register_model("transformer-xl", make_transformer, xl_presets);
  for (const char* name : {"primer", "primer-ez"})
    register_model(name, make_transformer, [name] { return primer_presets(name); });
}
