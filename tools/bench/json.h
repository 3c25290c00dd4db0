// What a run of bench measured, as one JSON object: a record, which a later run is compared with.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/bench/operators.h"
#include "tools/bench/report.h"
#include "tools/bench/step.h"

namespace tandem {

// What was asked for: a run with the same settings on the same device can be compared.
struct BenchSettings {
  std::vector<std::string> targets;  // `all` written out
  std::vector<MatmulPrecision> precisions;
  BenchSizes sizes;
  int rounds = 0;
  int64_t steps = 0;
  int passes = 0;          // over all targets, one after another
  bool recompute = false;  // of `step`
};

// The record of a run on the bench device that has measured nothing yet. What follows goes into it: `peaks`
// and `peak_table` by these names, cases and steps into the arrays `operators` and `steps`, those of every
// pass.
nlohmann::ordered_json record_json(const BenchSettings& settings);
nlohmann::ordered_json peaks_json(const Peaks& peaks);  // GFLOP/s
nlohmann::ordered_json peak_table_json(const PeakTable& table);
nlohmann::ordered_json case_json(const BenchCase& c, const BenchResult& result, const Peaks& peaks);
nlohmann::ordered_json step_json(const StepResult& result);
// Their parts: {"min", "median", "max"}, and an operator's calls and times of a step.
nlohmann::ordered_json spread_json(const Spread& spread);
nlohmann::ordered_json operator_json(const OperatorTime& time);

// Error: the file cannot be read, or is no record; the message names it.
nlohmann::ordered_json read_record(const std::string& path);
// Error: they are missing, or make no sense.
BenchSettings settings_of(const nlohmann::ordered_json& record);

}  // namespace tandem
