// Compares a run of bench with an earlier one, and reports what changed beyond noise.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "tools/bench/timing.h"

namespace tandem {

// A quantity of both records. The speed of a machine differs from run to run, so times are compared in units
// of their floor, which was measured beside them. Bytes and operations are compared as they are. Less is
// better for every quantity.
struct Change {
  std::string name;  // "sru_scan f32 3 planes (64, 8, 512) forward"
  std::string unit;  // "floors", "MiB", "GFLOP"
  Spread before, now;
  double factor() const { return now.median / before.median; }
};

struct Comparison {
  int64_t compared = 0;                     // number of quantities that both records have
  std::vector<Change> moved;                // largest change first
  std::vector<std::string> added, missing;  // quantities that only one record has
  double tolerance = 0;

  // Returns the number of quantities that got worse by more than the tolerance.
  int64_t worse() const;
};

// Compares two records as in json.h. Several passes over a quantity are joined: the median of their medians,
// the least minimum and the greatest maximum. A time has moved if the medians differ by more than `tolerance`
// (0.1: 10 %) and each median lies outside the other's minimum .. maximum; bytes and operations, which have
// no noise, have moved if they differ. Operators below 1 % of a step in both records are left out. `added`
// and `missing` have only quantities of targets and precisions that both runs had. Error: `before` lacks a
// field, or there is nothing to compare.
Comparison compare_records(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now,
                           double tolerance);

// Error: the records are of different devices or sizes; the message has both values. Fields of the model that
// only one record has do not count. Error also: `before` lacks a field, or has one of another type.
void check_comparable(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now);

std::string comparison_text(const Comparison& comparison);
nlohmann::ordered_json comparison_json(const Comparison& comparison);

// Returns "f32 282.2 then, 398.1 now; ...", the measured peaks in GFLOP/s: how fast the machine was in both
// runs. Error: a peak of `before` is not a number.
std::string peaks_then_and_now(const nlohmann::ordered_json& before, const nlohmann::ordered_json& now);

}  // namespace tandem
