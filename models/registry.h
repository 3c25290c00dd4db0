// Models by name: from a configuration text, as checkpoints keep it, to a model.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "models/language_model.h"

namespace tandem {

// Builds the model that LanguageModel::config() describes: JSON whose field "model" names its kind.
// Error: an unknown kind (the known ones are listed), or what the model says of its configuration.
std::unique_ptr<LanguageModel> make_model(const std::string& config, uint64_t seed,
                                          Device device = Device::cpu());

std::vector<std::string> model_names();

}  // namespace tandem
