// Finding presets by name.
#include "tandem/models/presets.h"

#include <fmt/format.h>

#include <algorithm>

#include "tandem/core/check.h"
#include "tandem/models/registry.h"

namespace tandem {
namespace {

const RegisteredModel& known_model(const std::string& name) {
  const RegisteredModel* const model = find_model(name);
  TANDEM_CHECK(model != nullptr, "preset: the model {} is not known; there are {}", name,
               fmt::join(model_names(), ", "));
  return *model;
}

std::optional<Preset> in_table(const RegisteredModel& model, const std::string& name) {
  for (Preset& preset : model.presets())
    if (preset.name == name) return std::move(preset);
  return {};
}

std::optional<PresetVariant> as_variant(const RegisteredModel& model, const std::string& name) {
  return model.variants.parse ? model.variants.parse(name) : std::nullopt;
}

}  // namespace

Recipe laptop_recipe(double lr, int64_t steps) {
  return {.batch_size = 8,
          .unroll = 64,
          .eval_window = 256,
          .eval_batch_size = 16,
          .lr = lr,
          .warmup = 100,
          .steps = steps,
          .decay = "matrices",
          .eval_every = 4000,
          .eval_bytes = 400000};
}

Recipe laptop_attention_recipe(double lr) {
  Recipe recipe = laptop_recipe(lr, 8000);
  recipe.optimizer = "adamw";
  recipe.warmup = 200;
  recipe.weight_decay = 0;
  recipe.clip = 0.25;
  recipe.eval_every = 2000;
  return recipe;
}

std::vector<std::string> preset_names(const std::string& model) {
  std::vector<std::string> names;
  for (const Preset& known : known_model(model).presets()) names.push_back(known.name);
  return names;
}

bool has_preset(const std::string& model, const std::string& name) {
  const RegisteredModel& known = known_model(model);
  const std::optional<PresetVariant> variant = as_variant(known, name);
  return in_table(known, variant ? variant->base : name).has_value();
}

std::string preset_for_corpus(const std::string& model, const std::string& name, const std::string& corpus) {
  const std::string prefix = corpus == "wikitext-103" ? "wt103-" : corpus == "lm1b" ? "lm1b-" : "";
  return has_preset(model, prefix + name) ? prefix + name : name;
}

Preset preset(const std::string& model, const std::string& name) {
  const RegisteredModel& known = known_model(model);
  const std::optional<PresetVariant> variant = as_variant(known, name);
  std::optional<Preset> found = in_table(known, variant ? variant->base : name);
  TANDEM_CHECK(found.has_value(), "preset: {} is not known for the model {}; there are {}{}", name, model,
               fmt::join(preset_names(model), ", "), known.variants.help);
  if (variant) {
    found->name = name;
    variant->derive(*found);
  }
  return *std::move(found);
}

}  // namespace tandem
