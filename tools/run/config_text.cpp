// Writing of the file for train --config.
#include "tandem/tools/run/config_text.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "tandem/core/json.h"

namespace tandem {
namespace {

// Flags that are not part of a run's configuration and may stand in a file all the same.
constexpr const char* kOfTheMachine[] = {"--url",         "--data-dir",  "--device",    "--eager",
                                         "--peak-tflops", "--log-every", "--max-steps", "--max-time",
                                         "--reduce",      "--check-nan", "--timeout",   "--verify"};

// Returns FIELD=VALUE of --set, which reads a value as JSON, if it is JSON, and as a text otherwise.
std::string assignment(const std::string& field, const nlohmann::ordered_json& value) {
  const bool plain = value.is_string() && !nlohmann::json::accept(value.get<std::string>());
  return field + "=" + (plain ? value.get<std::string>() : value.dump());
}

}  // namespace

std::string config_text(const RunConfig& config, const Flags& flags) {
  std::string text;
  const auto put = [&text](const char* name, const auto& value) {
    text += fmt::format("{} = {}\n", name, value);
  };
  const auto put_text = [&put](const char* name, const std::string& value) {
    put(name, quoted_for_config(value));
  };
  const Recipe& r = config.recipe;
  const nlohmann::ordered_json model = nlohmann::ordered_json::parse(config.model_config);
  put_text("corpus", config.corpus);
  put_text("level", std::string(name_of(config.level)));
  if (config.words.size > 0) put("vocab-size", config.words.size);
  if (config.words.min_count != VocabularyLimit().min_count) put("min-count", config.words.min_count);
  put("valid-fraction", config.valid_fraction);
  put("test-fraction", config.test_fraction);
  put_text("model", model.at("model").get<std::string>());
  put_text("preset", config.preset);
  put_text("precision", config.precision);
  put("seed", config.seed);
  put("recompute", config.recompute);
  put("max-skipped", config.max_skipped);
  put("no-test", !config.test);
  put("shards", r.shards);
  if (config.distillation.weight > 0) {
    put_text("teacher", config.distillation.teacher);
    put("distill-weight", config.distillation.weight);
    put("temperature", config.distillation.temperature);
    put("imitate-steps", config.distillation.imitate_steps);
  }

  text += "\n# The recipe.\n";
  put("batch-size", r.batch_size);
  put("unroll", r.unroll);
  put("accumulate", r.accumulate);
  put("reset-every", r.reset_every);
  put_text("optimizer", r.optimizer);
  put("lr", r.lr);
  put("warmup", r.warmup);
  put("steps", r.steps);
  put("weight-decay", r.weight_decay);
  put_text("decay", r.decay);
  put("clip", r.clip);
  put("eval-every", r.eval_every);
  put("eval-bytes", r.eval_bytes);
  put("eval-window", r.eval_window);
  put("eval-memory", r.eval_memory);
  put("eval-clamp", r.eval_clamp);
  put("eval-batch-size", r.eval_batch_size);
  put("early-stop", config.early_stop);
  put("keep", config.keep);
  put("sample-every", config.sample_every);
  if (config.sample_tokens >= 0) put("sample-bytes", config.sample_tokens);

  text += "\n# The model.\n";
  std::vector<std::string> fields;
  for (const auto& [field, value] : model.items())
    if (field != "model" && field != "vocabulary")
      fields.push_back(quoted_for_config(assignment(field, value)));
  if (!fields.empty()) text += fmt::format("set = [{}]\n", fmt::join(fields, ",\n       "));

  std::string machine;
  for (const char* name : kOfTheMachine)
    if (flags.given(name))
      machine += fmt::format("{} = {}\n", name + 2, quoted_for_config(flags.values(name).back()));
  if (!machine.empty()) text += "\n# Of the machine.\n" + machine;
  return text;
}

}  // namespace tandem
