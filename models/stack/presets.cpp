// A size and a recipe of our own for stacks.
#include "models/presets.h"
#include "models/stack/stack.h"

namespace tandem {

std::vector<Preset> stack_presets() {
  StackConfig config;
  config.layers = "sru*2,attention,sru*2";
  config.d = 384;
  return {{"stack", "laptop", config.text(), laptop_recipe(4e-3, 12000),
           "ours: fast recurrence around one attention layer"}};
}

}  // namespace tandem
