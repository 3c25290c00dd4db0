// Small configurations of every model, which language_models_test.cpp puts through the checks that all models share
// (tests/testing/check_model.h). Each model's own test file adds some:
//
//     MODEL_CASES(sru) {
//       add_small_model(R"({"model":"sru","d":16,"layers":2})");
//     }
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace tandem::testing {

// JSON for make_model(). Fields that are left out have their defaults.
inline std::vector<std::string>& small_models() {
  static std::vector<std::string> configs;
  return configs;
}

inline void add_small_model(std::string config) {
  small_models().push_back(std::move(config));
}

}  // namespace tandem::testing

// Runs the block that follows before main(). Used once per test file.
#define MODEL_CASES(name)                                                                             \
  static void model_cases_of_##name();                                                                \
  [[maybe_unused]] static const bool model_cases_of_##name##_added = (model_cases_of_##name(), true); \
  static void model_cases_of_##name()
