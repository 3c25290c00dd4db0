// RunConfig as JSON.
#include "tandem/models/training/run_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tandem/core/check.h"
#include "tandem/core/json.h"
#include "tandem/core/utf8.h"

namespace tandem {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Recipe, batch_size, unroll, accumulate, shards, reset_every, memory,
                                   eval_window, eval_memory, eval_clamp, eval_batch_size, optimizer, schedule,
                                   lr, lr_floor, warmup, steps, noam_width, cycle, cycle_growth, cycle_shrink,
                                   weight_decay, decay, clip, eval_every, eval_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(VocabularyLimit, size, min_count)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Distillation, teacher, digest, weight, temperature, imitate_steps)
NLOHMANN_JSON_SERIALIZE_ENUM(TokenUnit, {{TokenUnit::byte, "byte"},
                                         {TokenUnit::word, "word"},
                                         {TokenUnit::subword, "subword"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(RunConfig, corpus, corpus_sha256, text_sha256, level, words,
                                   valid_fraction, test_fraction, preset, model_config, recipe, precision,
                                   seed, recompute, distillation, max_skipped, test, early_stop, sample_every,
                                   sample_tokens, keep)

namespace {

// Fields that are left out where they have their default.
constexpr const char* kLaterFields[] = {"distillation", "early_stop", "sample_every", "sample_tokens",
                                        "keep"};

void check_range(const char* name, int64_t value, int64_t low, int64_t high = int64_t{1} << 40) {
  TANDEM_CHECK(value >= low && value <= high, "run configuration: {} is {}; it must be from {} to {}", name,
               value, low, high);
}

void check_share(const char* name, double value) {
  TANDEM_CHECK(value >= 0 && value < 1, "run configuration: {} is {}; it must be at least 0 and below 1",
               name, value);
}

void check_shards(const Recipe& recipe) {
  check_range("shards", recipe.shards, 1, 1 << 16);
  if (recipe.batch_size % recipe.shards == 0) return;
  int64_t below = recipe.shards, above = recipe.shards;
  while (recipe.batch_size % below != 0) --below;
  while (above < recipe.batch_size && recipe.batch_size % above != 0) ++above;
  detail::fail(
      "run configuration: {} shards cannot share {} rows evenly; use {} or {} shards, or another batch size",
      recipe.shards, recipe.batch_size, below, std::min(above, recipe.batch_size));
}

// Error: a field of `given` is of another type than in `like`, an object that has all fields. JSON's conversions would
// cut fractions, wrap negative numbers and take unknown words for the first.
void check_types(const nlohmann::json& like, const nlohmann::json& given, const std::string& name) {
  const auto is_like = [&like, &given] {
    if (like.is_object()) return given.is_object();
    if (like.is_boolean()) return given.is_boolean();
    if (like.is_string()) return given.is_string();
    if (like.is_number_float()) return given.is_number();
    if (like.is_number_unsigned()) return given.is_number_unsigned();
    return json_as<int64_t>(given).has_value();
  };
  TANDEM_CHECK(is_like(), "run configuration: {} is {}, where a value like {} is expected", name,
               json_start(given), json_start(like));
  if (!like.is_object()) return;
  for (const auto& [key, value] : like.items()) {
    TANDEM_CHECK(given.contains(key), "run configuration: {} is missing",
                 name.empty() ? key : name + "." + key);
    check_types(value, given[key], name.empty() ? key : name + "." + key);
  }
}

}  // namespace

void RunConfig::check() const {
  check_range("batch_size", recipe.batch_size, 1, 1 << 24);
  check_range("unroll", recipe.unroll, 1, 1 << 24);
  check_range("accumulate", recipe.accumulate, 1, 1 << 16);
  check_shards(recipe);
  check_range("reset_every", recipe.reset_every, 0);
  check_range("memory", recipe.memory, -1, 1 << 24);
  check_range("eval_window", recipe.eval_window, 1, 1 << 24);
  check_range("eval_memory", recipe.eval_memory, -1, 1 << 24);
  check_range("eval_clamp", recipe.eval_clamp, 0);
  check_range("eval_batch_size", recipe.eval_batch_size, 1, 1 << 24);
  check_range("steps", recipe.steps, 1);
  check_range("eval_every", recipe.eval_every, 1);
  check_range("eval_bytes", recipe.eval_bytes, 0);
  TANDEM_CHECK(recipe.eval_bytes != 1,
               "run configuration: eval_bytes is 1, which leaves nothing to predict; give 0 or more than 1");
  const Distillation& d = distillation;
  TANDEM_CHECK(d.weight >= 0 && d.weight <= 1,
               "run configuration: distillation.weight is {}; it must be from 0 to 1", d.weight);
  TANDEM_CHECK(d.temperature > 0 && std::isfinite(d.temperature),
               "run configuration: distillation.temperature is {}; it must be positive", d.temperature);
  check_range("distillation.imitate_steps", d.imitate_steps, 0);
  check_range("max_skipped", max_skipped, 1);
  check_range("early_stop", early_stop, 0);
  check_range("sample_every", sample_every, 0);
  check_range("sample_tokens", sample_tokens, -1);
  check_range("keep", keep, 0);
  check_range("words.size", words.size, 0);
  check_range("words.min_count", words.min_count, 1);
  check_share("valid_fraction", valid_fraction);
  check_share("test_fraction", test_fraction);
}

std::string RunConfig::text() const {
  nlohmann::json json = *this;
  const nlohmann::json defaults = RunConfig();
  json["corpus"] = escaped_utf8(corpus);
  json["distillation"]["teacher"] = escaped_utf8(distillation.teacher);
  // Runs that do nothing new keep the text that earlier versions wrote and read.
  if (recipe.shards == 1) json["recipe"].erase("shards");
  if (recipe.reset_every == 0) json["recipe"].erase("reset_every");
  for (const char* field : kLaterFields)
    if (json[field] == defaults[field]) json.erase(field);
  return json.dump();
}

RunConfig RunConfig::from_text(const std::string& text) {
  try {
    // Defaults for fields that runs of earlier versions do not have.
    nlohmann::json json = {{"level", TokenUnit::byte}, {"words", VocabularyLimit()}};
    const nlohmann::json recipe = Recipe();
    for (const char* field : {"shards", "reset_every", "memory", "eval_memory", "eval_clamp", "schedule",
                              "lr_floor", "noam_width", "cycle", "cycle_growth", "cycle_shrink", "decay"})
      json["recipe"][field] = recipe[field];
    const nlohmann::json config = RunConfig();
    for (const char* field : {"text_sha256", "test"}) json[field] = config[field];
    for (const char* field : kLaterFields) json[field] = config[field];
    json.update(parse_json(text, "run configuration"), true);
    check_types(config, json, "");
    token_unit_named(json["level"].get<std::string>());  // refuses other words
    RunConfig found = json.get<RunConfig>();
    found.corpus = unescaped_utf8(found.corpus);
    found.distillation.teacher = unescaped_utf8(found.distillation.teacher);
    found.check();
    return found;
  } catch (const nlohmann::json::exception& error) {
    detail::fail("run configuration: {}: {}", error.what(), text);
  }
}

}  // namespace tandem
