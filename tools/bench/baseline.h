// Comparing a run of bench with an earlier one: what moved beyond noise.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/bench/timing.h"

namespace tandem {

// The speed of a machine changes from run to run, so no times are compared but ratios to what was measured in
// the same moments: times in units of their floors. Bytes and operations are compared as they are. Of every
// quantity, less is better.
struct Change {
  std::string name;  // "sru_scan f32 3 planes (64, 8, 512) forward"
  std::string unit;  // "floors", "MiB", "GFLOP"
  Spread before, now;
  double factor() const { return now.median / before.median; }
};

struct Comparison {
  int64_t compared = 0;       // quantities that both records have
  std::vector<Change> moved;  // the largest first
  std::vector<std::string> added, missing;
  double tolerance = 0;

  // Those that are worse by more than the tolerance. Within it are only bytes and operations.
  int64_t worse() const;
};

// Records as in bench_json.h; of several passes the medians' median and the ends of all count. Times have
// moved if the medians differ by more than `tolerance`, a share, and each lies outside the other's minimum ..
// maximum; bytes and operations, which know no noise, if they differ. Operators below 1 % of a step in both
// are left out. Added and missing are only quantities of targets and precisions that both ran. Error:
// `before` lacks a field, or nothing can be compared.
Comparison compare_records(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now,
                           double tolerance);

// Error: another device, or other sizes; the message has both. Fields of the model that only one of them
// knows do not count.
void check_comparable(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now);

std::string comparison_text(const Comparison& comparison);
nlohmann::ordered_json comparison_json(const Comparison& comparison);

// "f32 282.2 then, 398.1 now; ...", in GFLOP/s: how fast the machine was, which is not judged.
std::string peaks_then_and_now(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now);

}  // namespace tandem
