// Looking presets up.
#include "models/presets.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "core/check.h"
#include "models/registry.h"
#include "models/srupp/srupp.h"

namespace tandem {
namespace {

std::vector<Preset> presets_of(const std::string& model) {
  std::vector<Preset> found;
  for (const auto& table : {srupp_presets, sru_presets, lstm_presets, qrnn_presets, sha_rnn_presets,
                            transformer_presets, evolved_transformer_presets, stack_presets})
    for (Preset& preset : table())
      if (preset.model == model) found.push_back(std::move(preset));
  CHECK(!found.empty(), "preset: the model {} is not known; there are {}", model,
        fmt::join(model_names(), ", "));
  return found;
}

// Takes "-k5" off the end of an SRU++ name; -1 when there is none.
int64_t take_attention_every(const std::string& model, std::string& name) {
  if (model != "srupp") return -1;
  const size_t at = name.rfind("-k");
  if (at == std::string::npos) return -1;
  int64_t k = -1;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + at + 2, end, k);
  if (error != std::errc() || stop != end || k < 0) return -1;
  name.resize(at);
  return k;
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
  for (const Preset& known : presets_of(model)) names.push_back(known.name);
  return names;
}

bool has_preset(const std::string& model, const std::string& name) {
  std::string base = name;
  take_attention_every(model, base);
  const std::vector<std::string> names = preset_names(model);
  return std::find(names.begin(), names.end(), base) != names.end();
}

std::string preset_for_corpus(const std::string& model, const std::string& name, const std::string& corpus) {
  const std::string prefix = corpus == "wikitext-103" ? "wt103-" : corpus == "lm1b" ? "lm1b-" : "";
  return has_preset(model, prefix + name) ? prefix + name : name;
}

Preset preset(const std::string& model, const std::string& name) {
  std::string base = name;
  const int64_t every = take_attention_every(model, base);
  for (Preset& known : presets_of(model)) {
    if (known.name != base) continue;
    if (every < 0) return known;
    SruppConfig config = SruppConfig::from_text(known.model_config);
    CHECK(every <= config.layers, "preset: {} asks for attention every {} layers; {} has {} layers", name,
          every, base, config.layers);
    config.attention_every = every;
    known.name = name;
    known.model_config = config.text();
    return known;
  }
  detail::fail(
      "preset: {} is not known for the model {}; there are {}{}", name, model,
      fmt::join(preset_names(model), ", "),
      model == "srupp" ? ", also as NAME-k2, -k5, -k10 (attention every k layers) and -k0 (none)" : "");
}

}  // namespace tandem
