// A training run that version 0.1 wrote, stopped after 20 of 40 steps: see tests/golden/README.md.
#pragma once
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

namespace tandem::testing {

// Golden numbers were computed with the SIMD instructions of another CPU.
inline constexpr double kOldRunTolerance = 1e-5;  // relative
// The run's best dev loss, at step 20, in nats a symbol.
inline constexpr double kOldRunDevNats = 3.664035707512158;

struct OldStep {
  double loss = 0, gradient_norm = 0;
};

// Reads the training steps of a metrics.jsonl, by number.
inline std::map<int64_t, OldStep> read_steps(const std::string& path) {
  std::map<int64_t, OldStep> steps;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json json = nlohmann::json::parse(line);
    if (json.contains("loss")) steps[json["step"]] = {json["loss"], json["gradient_norm"]};
  }
  return steps;
}

}  // namespace tandem::testing
