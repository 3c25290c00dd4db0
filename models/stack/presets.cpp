// A size and a recipe of our own for stacks.
#include "tandem/models/presets.h"

#include "tandem/models/registry.h"
#include "tandem/models/stack/stack.h"

namespace tandem {
namespace {

std::vector<Preset> stack_presets() {
  StackConfig config;
  config.layers = "sru*2,attention,sru*2";
  config.d = 384;
  return {{"laptop", config.text(), laptop_recipe(4e-3, 12000),
           "ours: fast recurrence around one attention layer"}};
}

}  // namespace
}  // namespace tandem

TANDEM_MODELS(stack) {
  register_model("stack", make_stack, stack_presets);
}
