// minGRU's sizes and recipes. Source: arXiv 2410.01201, whose language model follows nanoGPT's for characters.
#include "tandem/models/presets.h"

#include "tandem/models/min_gru/min_gru.h"
#include "tandem/models/registry.h"

namespace tandem {
namespace {

MinGruConfig sized(int64_t d, int64_t d_inner, int64_t d_feed_forward, int64_t layers) {
  MinGruConfig config;
  config.d = d;
  config.d_inner = d_inner;
  config.d_feed_forward = d_feed_forward;
  config.layers = layers;
  return config;
}

std::vector<Preset> min_gru_presets() {
  MinGruConfig shakespeare = sized(384, 768, 1536, 3);
  shakespeare.dropout = 0.2;
  Recipe recipe = {.batch_size = 64,
                   .unroll = 256,
                   .eval_window = 256,
                   .eval_batch_size = 16,
                   .optimizer = "adamw",
                   .lr = 1e-3,
                   .warmup = 100,
                   .steps = 5000,
                   .eval_every = 250};
  return {
      {"laptop", sized(160, 320, 480, 4).text(), laptop_recipe(3e-3, 8000),
       "ours: 1.3M, what five minutes on two cores can buy"},
      {"laptop-3m", sized(240, 480, 720, 4).text(), laptop_recipe(3e-3, 8000), "ours: 3M"},
      {"shakespeare", shakespeare.text(), recipe,
       "6.7M, the paper's sizes: loss 1.548 on Shakespeare's plays by characters; the recipe is nanoGPT's"}};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(min_gru) {
  register_model("min-gru", make_min_gru, min_gru_presets);
}
