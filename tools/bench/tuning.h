// The ways of attention on a GPU that a run of bench tries in turn.
#pragma once
#include <fmt/format.h>

#include <string>
#include <vector>

#include "tandem/ops/attention.h"

namespace tandem {

// Returns "2 waves, bf16 scores", without what is the default.
inline std::string tuning_text(const AttentionTuning& tuning) {
  std::string text;
  if (tuning.waves != 1) text = fmt::format("{:.4g} waves", tuning.waves);
  if (tuning.bf16_scores) text += text.empty() ? "bf16 scores" : ", bf16 scores";
  return text;
}

// Returns every number of waves with every type of scores, f32 or bf16.
inline std::vector<AttentionTuning> tunings_of(const std::vector<double>& waves,
                                               const std::vector<std::string>& scores) {
  std::vector<AttentionTuning> all;
  for (const std::string& type : scores)
    for (const double count : waves) all.push_back({.waves = count, .bf16_scores = type == "bf16"});
  return all;
}

}  // namespace tandem
