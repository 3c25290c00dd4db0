// The table of registered models.
#include "tandem/models/registry.h"

#include <fmt/format.h>

#include <map>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/models/config_fields.h"

namespace tandem {

namespace registered {
// True when all blocks TANDEM_MODELS of models/ have run. Defined in the file that
// models/registration.cmake writes.
bool built_in_models();
}  // namespace registered

namespace {

std::map<std::string, RegisteredModel>& table() {
  static std::map<std::string, RegisteredModel> models;
  return models;
}

// The message of the first block TANDEM_MODELS that failed; empty if none has.
std::string& failure() {
  static std::string message;
  return message;
}

const std::map<std::string, RegisteredModel>& complete_table() {
  TANDEM_CHECK(registered::built_in_models(),
               "model: looked up before main(), when not all models are registered");
  TANDEM_CHECK(failure().empty(), "{}", failure());
  return table();
}

}  // namespace

bool registered::run_block(void (*block)()) {
  try {
    block();
  } catch (const Error& error) {
    if (failure().empty()) failure() = error.what();
  }
  return true;
}

void register_model(RegisteredModel model) {
  const std::string name = model.name;
  TANDEM_CHECK(!name.empty(), "register_model: the name is empty");
  TANDEM_CHECK(model.make && model.presets, "register_model: {} has no function {}; give one", name,
               model.make ? "presets" : "make");
  TANDEM_CHECK(table().emplace(name, std::move(model)).second,
               "register_model: {} is registered already; give this model another name", name);
}

const RegisteredModel* find_model(const std::string& name) {
  const auto found = complete_table().find(name);
  return found == table().end() ? nullptr : &found->second;
}

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const auto& [name, model] : complete_table()) names.push_back(name);
  return names;
}

std::unique_ptr<LanguageModel> make_model(const std::string& config, uint64_t seed, Device device) {
  const std::string name = model_of_config(config);
  TANDEM_CHECK(!name.empty(), "model: the configuration must be a JSON object with a field \"model\": {}",
               printable_start(config));
  const RegisteredModel* const model = find_model(name);
  TANDEM_CHECK(
      model != nullptr,
      "model: {} is not known; there are {}; a program that has it must register it by register_model()",
      printable_start(name), fmt::join(model_names(), ", "));
  return model->make(config, seed, device);
}

}  // namespace tandem
