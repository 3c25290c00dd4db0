// The number of parameters of a preset's model.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "tandem/models/presets.h"
#include "tandem/models/registry.h"

namespace tandem::testing {

// Makes the model of a preset for a text of so many symbols, and returns its number of parameters.
inline int64_t parameter_count(const std::string& model, const std::string& name, int64_t vocabulary) {
  nlohmann::json config = nlohmann::json::parse(preset(model, name).model_config);
  config["vocabulary"] = vocabulary;
  return make_model(config.dump(), 1)->parameter_count();
}

}  // namespace tandem::testing
