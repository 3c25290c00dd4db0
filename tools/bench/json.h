// The record of a run of bench: one JSON object with all that it measured, which a later run can be compared
// with.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tandem/ops/attention.h"
#include "tools/bench/operators.h"
#include "tools/bench/report.h"
#include "tools/bench/step.h"

namespace tandem {

// The settings of a run. Runs with the same settings on the same device can be compared.
struct BenchSettings {
  std::vector<std::string> targets;  // operators, "step" and "peak"; `all` is expanded
  std::vector<MatmulPrecision> precisions;
  BenchSizes sizes;
  int rounds = 0;
  int64_t steps = 0;
  int passes = 0;                               // repetitions of all targets in turn
  bool recompute = false;                       // whether `step` recomputes layers
  int64_t neighbours = 0;                       // busy processes beside `step`
  std::vector<AttentionTuning> tunings = {{}};  // all targets are run with each of these in turn
};

// Returns the record of a run on the bench device that has not measured anything yet. What the functions
// below return is put into it: `peaks` and `peak_table` by these names, cases and steps appended to the
// arrays `operators` and `steps`, in every pass.
nlohmann::ordered_json record_json(const BenchSettings& settings);
nlohmann::ordered_json peaks_json(const Peaks& peaks);  // GFLOP/s
nlohmann::ordered_json peak_table_json(const PeakTable& table);
nlohmann::ordered_json case_json(const BenchCase& c, const BenchResult& result, const Peaks& peaks);
nlohmann::ordered_json step_json(const StepResult& result);
nlohmann::ordered_json sizes_json(const BenchSizes& sizes);
// Returns m x n x k, which operands are transposed (t) or not (n), and the batch: "512x1536x768 nt 4".
std::string product_text(const GemmCall& product);
// Parts of these: {"min", "median", "max"}; and the calls and times of an operator in a step.
nlohmann::ordered_json spread_json(const Spread& spread);
nlohmann::ordered_json operator_json(const OperatorTime& time);

// Reads a record. Error: the file cannot be read, or is not a record; the message names it.
nlohmann::ordered_json read_record(const std::string& path);
// Returns the settings of a record. Error: they are missing or damaged.
BenchSettings settings_of(const nlohmann::ordered_json& record);

}  // namespace tandem
