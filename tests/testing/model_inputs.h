// Configurations, models and tokens of the checks of models. This header is not installed.
#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tandem/models/language_model.h"
#include "tandem/testing/check_model.h"

namespace tandem::testing {

inline constexpr int64_t kBatch = 2;

// Returns the CPU and, if it is to be used and there is one, the GPU.
std::vector<Device> devices_of(const ModelChecks& checks);

// Returns the configuration in f64 with the vocabulary of the checks.
nlohmann::json config_of(const std::string& text);
// Returns config_of() with all fields, those that were left out too.
nlohmann::json whole_config_of(const std::string& text);
// Makes a model whose parameters are moved away from their initial values: many of those are near zero, which would hide
// errors.
std::unique_ptr<LanguageModel> make_shaken(const nlohmann::json& config, Device device = Device::cpu());
// Returns ids (steps, kBatch) i32.
Tensor random_tokens(int64_t steps, uint64_t seed);
// Returns the gradients of all parameters in f64; zeros for a parameter that has none.
std::vector<std::vector<double>> gradients_of(const LanguageModel& model);

}  // namespace tandem::testing
