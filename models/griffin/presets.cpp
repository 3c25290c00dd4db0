// Griffin's sizes and recipes. Sources: arXiv 2402.19427 and the authors' code (google-deepmind/recurrentgemma).
#include "tandem/models/presets.h"
#include "tandem/models/griffin/griffin.h"
#include "tandem/models/registry.h"

namespace tandem {
namespace {

GriffinConfig sized(int64_t d, int64_t d_recurrent, int64_t layers, int64_t attention_every) {
  GriffinConfig config;
  config.d = d;
  config.d_recurrent = d_recurrent;
  config.d_feed_forward = 3 * d;
  config.layers = layers;
  config.attention_every = attention_every;
  config.window = 256;
  return config;
}

std::vector<Preset> griffin_presets() {
  GriffinConfig large = sized(2560, 2560, 26, 3);
  large.blocks = 10;
  large.heads = 10;
  large.window = 2048;
  large.scaled_embedding = true;
  const Recipe large_recipe = {.batch_size = 16,
                               .unroll = 2048,
                               .eval_window = 2048,
                               .eval_batch_size = 4,
                               .optimizer = "adamw",
                               .lr = 3e-4,
                               .warmup = 1000,
                               .steps = 100000};
  return {{"laptop", sized(128, 160, 6, 3).text(), laptop_recipe(3e-3, 8000),
           "ours: 1.3M, four recurrent layers and two that attend"},
          {"laptop-3m", sized(192, 256, 6, 3).text(), laptop_recipe(3e-3, 8000), "ours: 3M"},
          {"hawk-laptop", sized(128, 160, 6, 0).text(), laptop_recipe(3e-3, 8000),
           "ours: 1.3M without attention"},
          {"2b", large.text(), large_recipe, "the sizes of RecurrentGemma-2B; the recipe is ours"}};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(griffin) {
  register_model("griffin", make_griffin, griffin_presets);
}
