// Gated DeltaNet's sizes and recipes. Source: the authors' code (fla-org/flash-linear-attention).
#include "tandem/models/presets.h"
#include "tandem/models/gated_deltanet/gated_deltanet.h"
#include "tandem/models/registry.h"

namespace tandem {
namespace {

// The authors' proportions: keys are 3/4 d wide in all, values twice as wide.
GatedDeltaNetConfig sized(int64_t d, int64_t heads, int64_t d_feed_forward, int64_t layers) {
  GatedDeltaNetConfig config;
  config.d = d;
  config.heads = heads;
  config.d_key = 3 * d / (4 * heads);
  config.d_value = 2 * config.d_key;
  config.d_feed_forward = d_feed_forward;
  config.layers = layers;
  return config;
}

std::vector<Preset> gated_deltanet_presets() {
  const Recipe large = {.batch_size = 16,
                        .unroll = 2048,
                        .eval_window = 2048,
                        .eval_batch_size = 4,
                        .optimizer = "adamw",
                        .lr = 4e-4,
                        .warmup = 1000,
                        .steps = 100000};
  return {{"laptop", sized(128, 4, 384, 5).text(), laptop_recipe(3e-3, 8000),
           "ours: 1.3M, what five minutes on two cores can buy"},
          {"laptop-3m", sized(192, 4, 640, 5).text(), laptop_recipe(3e-3, 8000), "ours: 3M"},
          {"1.3b", sized(2048, 6, 5632, 21).text(), large,
           "the sizes of the paper's 1.3B model; the recipe is ours"}};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(gated_deltanet) {
  register_model("gated-deltanet", make_gated_deltanet, gated_deltanet_presets);
}
