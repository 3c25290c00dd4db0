// Flags over presets, and over the settings of a run that goes on.
#include "tandem/tools/run/train_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "tandem/core/json.h"
#include "tandem/tools/run/device.h"
#include "tandem/tools/run/rate_search.h"

namespace tandem {
namespace {

template <class T>
void override_field(T& field, const std::optional<T>& given) {
  if (given) field = *given;
}

void override_recipe(Recipe& recipe, const TrainOptions& o) {
  override_field(recipe.batch_size, o.batch_size);
  override_field(recipe.unroll, o.unroll);
  override_field(recipe.reset_every, o.reset_every);
  override_field(recipe.accumulate, o.accumulate);
  override_field(recipe.eval_window, o.eval_window);
  override_field(recipe.eval_memory, o.eval_memory);
  override_field(recipe.eval_clamp, o.eval_clamp);
  override_field(recipe.eval_batch_size, o.eval_batch_size);
  override_field(recipe.optimizer, o.optimizer);
  override_field(recipe.lr, o.lr);
  override_field(recipe.warmup, o.warmup);
  override_field(recipe.steps, o.steps);
  override_field(recipe.weight_decay, o.weight_decay);
  override_field(recipe.decay, o.decay);
  override_field(recipe.clip, o.clip);
  override_field(recipe.eval_every, o.eval_every);
  override_field(recipe.eval_bytes, o.eval_bytes);
}

std::string override_model(const std::string& preset, int64_t vocabulary, const TrainOptions& o) {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(preset);
  for (const std::string& assignment : o.set) {
    const size_t at = assignment.find('=');
    if (at == std::string::npos || at == 0) throw UsageError("--set: " + assignment + " is not FIELD=VALUE");
    const std::string field = assignment.substr(0, at), value = assignment.substr(at + 1);
    if (field == "vocabulary" || field == "model")
      throw UsageError(fmt::format("--set: {} is {}; leave it out", field,
                                   field == "model" ? "given by --model" : "that of the text"));
    if (value.empty()) throw UsageError("--set: " + assignment + " has an empty value");
    const auto parsed = nlohmann::ordered_json::parse(value, nullptr, false);
    json[field] = parsed.is_discarded() ? nlohmann::ordered_json(value) : parsed;
  }
  const auto set = [&json](const char* name, const auto& given) {
    if (given) json[name] = *given;
  };
  set("d", o.d);
  set("d_projected", o.d_projected);
  set("layers", o.layers);
  set("heads", o.heads);
  // One way to place attention replaces the other.
  if (o.attention_every || o.attention_last) {
    json["attention_every"] = o.attention_every.value_or(0);
    json["attention_last"] = o.attention_last.value_or(0);
  }
  set("dropout", o.dropout);
  set("attention_dropout", o.attention_dropout);
  json["vocabulary"] = vocabulary;
  return json.dump();
}

// Returns a preset's model with the output tied to the embedding where the preset leaves them apart: of subwords, each has
// as many weights as all the rest of a small model.
std::string with_tied_output(const std::string& preset) {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(preset);
  if (json.contains("tied") && json.value("cutoffs", std::vector<int64_t>()).empty()) json["tied"] = true;
  return json.dump();
}

// Returns the teacher of a new run. Error: UsageError for its settings without one, or outside of their range.
Distillation distillation_of(const TrainOptions& o) {
  constexpr double kWeight = 0.5, kTemperature = 2;
  if (o.teacher.empty() && (o.distill_weight || o.temperature || o.imitate_steps))
    throw UsageError(
        fmt::format("{} needs a teacher; give --teacher=CHECKPOINT", o.distill_weight ? "--distill-weight"
                                                                     : o.temperature  ? "--temperature"
                                                                                      : "--imitate-steps"));
  const double weight = o.distill_weight.value_or(kWeight),
               temperature = o.temperature.value_or(kTemperature);
  if (!(weight >= 0 && weight <= 1))
    throw UsageError(fmt::format("--distill-weight: {} is not from 0 to 1", weight));
  if (!(temperature > 0 && std::isfinite(temperature)))
    throw UsageError(fmt::format("--temperature: {} is not a positive number", temperature));
  if (o.teacher.empty() || weight == 0) return {};
  return {.teacher = o.teacher,
          .digest = "",
          .weight = weight,
          .temperature = temperature,
          .imitate_steps = o.imitate_steps.value_or(0)};
}

// Returns whether a flag may be given to a resumed run with another value than before.
bool is_free_on_resume(const std::string& flag) {
  static const std::set<std::string> free = {
      "corpus",        "--model",       "--preset",     "--resume",       "--out",          "--max-steps",
      "--max-time",    "--log-every",   "--url",        "--data-dir",     "--device",       "--check-nan",
      "--eager",       "--verify",      "--ranks",      "--reduce",       "--timeout",      "--max-restarts",
      "--peak-tflops", "--tensorboard", "--early-stop", "--sample-every", "--sample-bytes", "--keep",
      "--dump-config", "--teacher"};
  return free.contains(flag);
}

}  // namespace

void override_duties(RunConfig& config, const TrainOptions& o) {
  override_field(config.early_stop, o.early_stop);
  override_field(config.sample_every, o.sample_every);
  override_field(config.sample_tokens, o.sample_tokens);
  override_field(config.keep, o.keep);
}

RunConfig new_run(const TrainOptions& o, const Corpus& corpus, Device device, const Ranks& ranks) {
  const Preset chosen = preset(o.model, o.preset);
  RunConfig config;
  config.corpus = o.corpus.name_or_path;
  config.corpus_sha256 = corpus.sha256;
  config.text_sha256 = corpus.text_sha256;
  config.level = corpus.level();
  config.words = o.corpus.words;
  if (config.level == TokenUnit::subword) config.words.size = corpus.vocabulary.size();
  config.valid_fraction = o.corpus.valid_fraction;
  config.test_fraction = o.corpus.test_fraction;
  config.preset = o.preset;
  config.recipe = chosen.recipe;
  override_recipe(config.recipe, o);
  config.recipe.shards = o.ranks.shards.value_or(std::max<int64_t>(config.recipe.shards, ranks.size()));
  const bool tie = corpus.level() == TokenUnit::subword;
  config.model_config = override_model(tie ? with_tied_output(chosen.model_config) : chosen.model_config,
                                       corpus.vocabulary.size(), o);
  config.precision = resolve_precision(o.precision, device);
  config.seed = o.seed;
  config.recompute = o.recompute;
  config.distillation = distillation_of(o);
  config.max_skipped = o.max_skipped;
  config.test = o.test;
  override_duties(config, o);
  if (o.find_lr > 0 && !o.describe && !o.dump_config) config = rate_search_config(config, o.find_lr);
  config.check();
  return config;
}

void check_resume_flags(const Flags& flags) {
  if (flags.given("--find-lr"))
    throw UsageError("--find-lr: it searches for the rate of a new run, not of --resume");
  if (is_restart()) return;  // the same command is to go on
  for (const std::string& name : flags.all_given())
    if (!is_free_on_resume(name) && !flags.given_by_file(name))
      throw UsageError("--resume: " + name + " was settled when the run began; leave it out");
}

void check_resume_file(const Flags& flags, const TrainOptions& o, const RunConfig& config) {
  const std::vector<std::string> given = flags.all_given();
  if (std::none_of(given.begin(), given.end(),
                   [&flags](const std::string& name) { return flags.given_by_file(name); }))
    return;
  RunConfig wanted = config;
  override_recipe(wanted.recipe, o);
  const nlohmann::json model = parse_json(config.model_config, "the run's model");
  wanted.model_config = override_model(config.model_config, model.at("vocabulary").get<int64_t>(), o);
  const auto take = [&flags](const char* name, auto& field, const auto& value) {
    if (flags.given_by_file(name)) field = value;
  };
  take("--level", wanted.level, o.corpus.level.value_or(config.level));
  take("--vocab-size", wanted.words.size, o.corpus.words.size);
  take("--min-count", wanted.words.min_count, o.corpus.words.min_count);
  take("--valid-fraction", wanted.valid_fraction, o.corpus.valid_fraction);
  take("--test-fraction", wanted.test_fraction, o.corpus.test_fraction);
  take("--seed", wanted.seed, o.seed);
  take("--recompute", wanted.recompute, o.recompute);
  take("--distill-weight", wanted.distillation.weight, o.distill_weight.value_or(0));
  take("--temperature", wanted.distillation.temperature, o.temperature.value_or(1));
  take("--imitate-steps", wanted.distillation.imitate_steps, o.imitate_steps.value_or(0));
  take("--max-skipped", wanted.max_skipped, o.max_skipped);
  take("--no-test", wanted.test, o.test);
  take("--shards", wanted.recipe.shards, o.ranks.shards.value_or(1));
  if (o.precision != "auto") take("--precision", wanted.precision, o.precision);
  const auto whole = [](const RunConfig& c) {
    nlohmann::json json = parse_json(c.text(), "the run's configuration");
    json["model_config"] = parse_json(c.model_config, "the run's model");
    return json.flatten();
  };
  const nlohmann::json is = whole(config), asked = whole(wanted);
  for (const auto& [name, value] : asked.items()) {
    const nlohmann::json now = is.value(name, nlohmann::json());
    if (now == value) continue;
    throw UsageError(
        fmt::format("--config: {} is {} there and {} in the run, where it was settled when the run began",
                    std::filesystem::path(name).filename().string(), value.dump(), now.dump()));
  }
}

}  // namespace tandem
