// Writing of run.json.
#include "tandem/tools/run/run_facts.h"

#include <fmt/chrono.h>

#include <ctime>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tandem/core/atomic_file.h"
#include "tandem/core/json.h"
#include "tandem/core/utf8.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/run_folder.h"

namespace tandem {
namespace {

using Json = nlohmann::ordered_json;

// Returns the starts in a file of an earlier start; an empty list if there is none that can be read.
Json earlier_starts(const std::filesystem::path& path) {
  std::ifstream in(path);
  const Json facts = Json::parse(in, nullptr, false);
  const bool known = facts.is_object() && facts.contains("starts") && facts["starts"].is_array();
  return known ? facts["starts"] : Json::array();
}

// Returns the configuration as JSON, that of the model as an object in it.
Json readable(const RunConfig& config) {
  Json json = parse_json(config.text(), "the run's configuration");
  json["model"] = parse_json(config.model_config, "the run's model");
  json.erase("model_config");
  return json;
}

}  // namespace

double training_flops_per_token(const LanguageModel& model, const Recipe& recipe,
                                const LanguageModel* teacher) {
  const int64_t memory = recipe.memory < 0 ? recipe.unroll : recipe.memory;
  return 3 * model.forward_flops(recipe.unroll, memory) +
         (teacher ? teacher->forward_flops(recipe.unroll, memory) : 0);
}

double training_flops_per_token(const Trainer& trainer) {
  return training_flops_per_token(trainer.model(), trainer.config().recipe, trainer.teacher());
}

void write_run_facts(const std::filesystem::path& folder, const Trainer& trainer,
                     const std::vector<std::string>& command) {
  const std::filesystem::path path = folder / kRunFacts;
  Json words = Json::array(), starts = earlier_starts(path);
  for (const std::string& word : command) words.push_back(escaped_utf8(word));
  std::error_code unknown;
  starts.push_back({{"time", fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(std::time(nullptr)))},
                    {"folder", escaped_utf8(std::filesystem::current_path(unknown).string())},
                    {"step", trainer.steps_done()},
                    {"device", device_name(trainer.device())},
                    {"ranks", trainer.ranks().size()},
                    {"command", std::move(words)}});
  const Json facts = {{"starts", std::move(starts)},
                      {"parameters", trainer.model().parameter_count()},
                      {"flops_per_token", training_flops_per_token(trainer)},
                      {"config", readable(trainer.config())}};
  write_file_atomically(path.string(), facts.dump(1) + "\n");
}

}  // namespace tandem
