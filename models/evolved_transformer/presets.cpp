// The sizes of the Evolved Transformers that Primer's paper trains (arXiv 2109.08668). The recipes are ours.
#include "tandem/models/presets.h"
#include "tandem/models/evolved_transformer/evolved_transformer.h"

#include "tandem/models/registry.h"

namespace tandem {
namespace {

Preset sized(const char* name, int64_t blocks, int64_t d, int64_t heads, const Recipe& recipe,
             const char* about) {
  EvolvedTransformerConfig config;
  config.blocks = blocks;
  config.d = d;
  config.heads = heads;
  return {name, config.text(), recipe, about};
}

std::vector<Preset> evolved_transformer_presets() {
  const Recipe recipe = {.batch_size = 128,
                         .unroll = 512,
                         .eval_window = 512,
                         .eval_batch_size = 16,
                         .optimizer = "adamw",
                         .lr = 1e-3,
                         .warmup = 10000,
                         .steps = 1000000,
                         .weight_decay = 0};
  return {sized("laptop", 2, 192, 4, laptop_attention_recipe(2e-3),
                "ours: two blocks, as four layers of the other laptops"),
          sized("small", 4, 512, 8, recipe, "38M in the paper of Primer, recipe ours"),
          sized("medium", 7, 768, 12, recipe, "110M in the paper of Primer, recipe ours")};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(evolved_transformer) {
  register_model("evolved-transformer", make_evolved_transformer, evolved_transformer_presets);
}
