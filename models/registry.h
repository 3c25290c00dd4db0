// The language models by name. A model registers itself in a file of its own, here or in another program:
//
//     TANDEM_MODELS(sru) {
//       register_model("sru", make_sru, sru_presets);
//     }
//
// or a program calls register_model() in main(), before or after models are looked up.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tandem/models/language_model.h"
#include "tandem/models/presets.h"

namespace tandem {

struct RegisteredModel {
  std::string name;  // the key "model" of its configurations
  // Builds the model of a configuration in JSON. The seed is of the initial values.
  std::function<std::unique_ptr<LanguageModel>(const std::string& config, uint64_t seed, Device device)> make;
  std::function<std::vector<Preset>()> presets;  // "laptop" is one of them
  PresetVariants variants = {};
};

// Error: the name is empty, a function is missing, or a model of this name is registered already. Call it while no other
// thread looks models up.
void register_model(RegisteredModel model);

// Registers a model whose configuration has from_text() (models/config_fields.h).
template <class Config>
void register_model(const std::string& name,
                    std::unique_ptr<LanguageModel> (*make)(const Config& config, uint64_t seed),
                    std::function<std::vector<Preset>()> presets, PresetVariants variants = {}) {
  const auto make_from_text = [make](const std::string& text, uint64_t seed, Device device) {
    Config config = Config::from_text(text);
    config.device = device;
    return make(config, seed);
  };
  register_model(RegisteredModel{name, make_from_text, std::move(presets), std::move(variants)});
}

// Returns null for an unknown name. Error, here and in the functions below: a block TANDEM_MODELS has failed, as with a
// name that another model has; or the call comes before main(), when not all models are registered yet.
const RegisteredModel* find_model(const std::string& name);

// Returns the names in alphabetical order.
std::vector<std::string> model_names();

// Builds the model that LanguageModel::config() describes. Error: an unknown model (the known ones are
// listed), or what the model finds wrong with its configuration.
std::unique_ptr<LanguageModel> make_model(const std::string& config, uint64_t seed,
                                          Device device = Device::cpu());

}  // namespace tandem

namespace tandem::registered {
// Runs a block of TANDEM_MODELS. Keeps an Error that it throws for the first look-up, because nothing could catch it
// before main(). Returns true.
bool run_block(void (*block)());
}  // namespace tandem::registered

// Runs the block that follows before main(). For use at global scope, with a name that no other file uses. Names in the
// block are looked up in tandem and in the global namespace.
// A linker takes from a static library only the object files that something refers to, so that
// models/registration.cmake writes a file that refers to all blocks in models/, and the registry refers to
// that file. Object files that are linked directly need no such list.
#define TANDEM_MODELS(file)                      \
  namespace tandem::registered {                 \
  static void models_of_##file();                \
  extern const bool file;                        \
  const bool file = run_block(models_of_##file); \
  }                                              \
  void tandem::registered::models_of_##file()
