// A size and a recipe of our own for stacks.
#include "models/presets.h"
#include "models/stack.h"

namespace tandem {

std::vector<Preset> stack_presets() {
  StackConfig config;
  config.layers = "sru*2,attention,sru*2";
  config.d = 384;
  const Recipe recipe = {.batch_size = 8,
                         .unroll = 64,
                         .eval_window = 256,
                         .eval_batch_size = 16,
                         .lr = 4e-3,
                         .warmup = 100,
                         .steps = 12000,
                         .eval_every = 2000,
                         .eval_bytes = 400000};
  return {{"stack", "laptop", config.text(), recipe, "ours: fast recurrence around one attention layer"}};
}

}  // namespace tandem
