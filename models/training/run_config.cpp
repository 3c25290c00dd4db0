// RunConfig as JSON.
#include "models/training/run_config.h"

#include <nlohmann/json.hpp>

#include "core/check.h"

namespace tandem {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Recipe, batch_size, unroll, accumulate, memory, eval_window, eval_memory,
                                   eval_clamp, eval_batch_size, optimizer, schedule, lr, lr_floor, warmup,
                                   steps, noam_width, cycle, cycle_growth, cycle_shrink, weight_decay, clip,
                                   eval_every, eval_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VocabularyLimit, size, min_count)
NLOHMANN_JSON_SERIALIZE_ENUM(TokenUnit, {{TokenUnit::byte, "byte"}, {TokenUnit::word, "word"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RunConfig, corpus, corpus_sha256, level, words, valid_fraction,
                                   test_fraction, preset, model_config, recipe, precision, seed, recompute,
                                   max_skipped)

std::string RunConfig::text() const {
  return nlohmann::json(*this).dump();
}

RunConfig RunConfig::from_text(const std::string& text) {
  try {
    // Defaults for fields that runs of earlier versions do not have.
    nlohmann::json json = {{"level", TokenUnit::byte}, {"words", VocabularyLimit()}};
    const nlohmann::json recipe = Recipe();
    for (const char* field : {"memory", "eval_memory", "eval_clamp", "schedule", "lr_floor", "noam_width",
                              "cycle", "cycle_growth", "cycle_shrink"})
      json["recipe"][field] = recipe[field];
    json.update(nlohmann::json::parse(text), true);
    return json.get<RunConfig>();
  } catch (const nlohmann::json::exception& error) {
    detail::fail("run configuration: {}: {}", error.what(), text);
  }
}

}  // namespace tandem
