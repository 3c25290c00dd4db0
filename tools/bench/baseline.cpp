// Quantities of two records, compared.
#include "tools/bench/baseline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "tandem/core/check.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

constexpr double kSmallShare = 0.01;  // operators below this share of a step are left out

struct Quantity {
  std::string target, precision;  // for which it was measured
  Spread value;
  std::string unit;
  bool noisy = true;
  bool small = false;
  std::vector<double> medians = {};  // one for each pass
};

// Runs what reads records. A field that is missing or of another type becomes an Error.
template <class Read>
auto reading(Read&& read) {
  try {
    return read();
  } catch (const ordered_json::exception& error) {
    throw Error(fmt::format("--baseline: a record of bench, but not a whole one: {}", error.what()));
  }
}

class Quantities {
 public:
  // Adds a quantity, or joins it with that of an earlier pass.
  void add(const std::string& name, const Quantity& quantity) {
    Quantity& all = by_name_.try_emplace(name, quantity).first->second;
    all.medians.push_back(quantity.value.median);
    all.value = {std::min(all.value.min, quantity.value.min), spread_of(all.medians).median,
                 std::max(all.value.max, quantity.value.max)};
    all.small = all.small && quantity.small;
  }
  const Quantity* find(const std::string& name) const {
    const auto found = by_name_.find(name);
    return found == by_name_.end() ? nullptr : &found->second;
  }
  auto begin() const { return by_name_.begin(); }
  auto end() const { return by_name_.end(); }

 private:
  std::map<std::string, Quantity> by_name_;
};

Spread spread_from(const ordered_json& json) {
  return {json.at("min"), json.at("median"), json.at("max")};
}

Quantity exact(const std::string& target, const std::string& precision, double value, const char* unit) {
  return {target, precision, {value, value, value}, unit, false, false};
}

double mib(const ordered_json& bytes) {
  return bytes.get<double>() / (1 << 20);
}

void add_operators(Quantities& all, const ordered_json& record) {
  for (const ordered_json& c : record.at("operators")) {
    const std::string op = c.at("operator"), precision = c.at("precision");
    const std::string name = fmt::format("{} {} {}", op, precision, c.at("case").get<std::string>());
    for (const char* pass : {"forward", "backward"})
      if (c.contains(pass) && c[pass].contains("times_floor"))
        all.add(fmt::format("{} {}", name, pass),
                {op, precision, spread_from(c[pass]["times_floor"]), "floors"});
    all.add(name + " memory", exact(op, precision, mib(c.at("peak_bytes")), "MiB"));
  }
}

void add_steps(Quantities& all, const ordered_json& record) {
  for (const ordered_json& step : record.at("steps")) {
    const std::string precision = step.at("precision"), tuning = step.value("attention", ""),
                      name = "step " + precision + (tuning.empty() ? "" : ", " + tuning);
    const ordered_json& parts = step.at("times_floor");
    const double whole = parts.at("step").at("median");
    for (const auto& [part, floors] : parts.items()) {
      const Spread value = spread_from(floors);
      all.add(part == "step" ? name : fmt::format("{}: {}", name, part),
              {"step", precision, value, "floors", true, value.median < kSmallShare * whole});
    }
    all.add(name + ": tensors", exact("step", precision, mib(step.at("peak_bytes")), "MiB"));
    all.add(name + ": held by the allocator",
            exact("step", precision, mib(step.at("reserved_bytes")), "MiB"));
    const double flops = step.at("flops").at("f32").get<double>() + step.at("flops").at("bf16").get<double>();
    all.add(name + ": products", exact("step", precision, flops / 1e9, "GFLOP"));
  }
}

Quantities quantities_of(const ordered_json& record) {
  Quantities all;
  add_operators(all, record);
  add_steps(all, record);
  return all;
}

bool has(const ordered_json& array, const std::string& name) {
  return std::find(array.begin(), array.end(), name) != array.end();
}

bool ran(const ordered_json& record, const Quantity& quantity) {
  return has(record.at("targets"), quantity.target) && has(record.at("precisions"), quantity.precision);
}

bool within(double value, const Spread& spread) {
  return value >= spread.min && value <= spread.max;
}

// Returns whether a change would mean something: not for the smallest parts of a step, nor for times on a GPU
// that are lost in noise.
bool comparable(const Quantity& a, const Quantity& b) {
  return !a.noisy || (!(a.small && b.small) && a.value.median > 0 && b.value.median > 0);
}

bool moved(const Quantity& before, const Quantity& now, double tolerance) {
  const double a = before.value.median, b = now.value.median;
  if (!before.noisy) return a != b;
  return std::max(a / b, b / a) > 1 + tolerance && !within(a, now.value) && !within(b, before.value);
}

double size(const Change& change) {
  return std::abs(std::log(change.factor()));
}

// Returns the quantities of `from` that `other` lacks although it ran their target in their precision.
std::vector<std::string> without(const Quantities& from, const Quantities& other,
                                 const ordered_json& other_record) {
  std::vector<std::string> names;
  for (const auto& [name, quantity] : from)
    if (!other.find(name) && ran(other_record, quantity)) names.push_back(name);
  return names;
}

Comparison compared(const ordered_json& before, const ordered_json& now, double tolerance) {
  const Quantities then = quantities_of(before), today = quantities_of(now);
  Comparison result;
  result.tolerance = tolerance;
  for (const auto& [name, quantity] : today) {
    const Quantity* const found = then.find(name);
    if (!found || !comparable(*found, quantity)) continue;
    ++result.compared;
    if (moved(*found, quantity, tolerance))
      result.moved.push_back({name, quantity.unit, found->value, quantity.value});
  }
  std::stable_sort(result.moved.begin(), result.moved.end(),
                   [](const Change& a, const Change& b) { return size(a) > size(b); });
  result.added = without(today, then, before);
  result.missing = without(then, today, now);
  return result;
}

std::string value_text(const Spread& value, const std::string& unit) {
  return value.min == value.max ? fmt::format("{:.6g} {}", value.median, unit) : spread_text(value);
}

const char* verdict(const Change& change) {
  return change.factor() > 1 ? "worse" : "better";
}

std::vector<std::string> names_in(const ordered_json& record, const char* field) {
  return reading([&] { return record.at(field).get<std::vector<std::string>>(); });
}

void check_device_and_sizes(const ordered_json& before, const ordered_json& now) {
  const std::string device = before.at("device"), device_now = now.at("device");
  TANDEM_CHECK(device == device_now, "--baseline: measured on another device: {}; this is {}", device,
               device_now);
  std::vector<std::string> differences;
  const auto compare = [&differences](const ordered_json& a, const ordered_json& b) {
    for (const auto& [name, value] : b.items())
      if (name != "model" && a.contains(name) && a[name] != value)
        differences.push_back(fmt::format("{} {}, now {}", name, a[name].dump(), value.dump()));
  };
  const auto recomputes = [](const ordered_json& record) { return record.value("recompute", false); };
  TANDEM_CHECK(recomputes(before) == recomputes(now), "--baseline: measured {} --recompute",
               recomputes(before) ? "with" : "without");
  const auto neighbours = [](const ordered_json& record) { return record.value("neighbours", int64_t{0}); };
  TANDEM_CHECK(neighbours(before) == neighbours(now), "--baseline: measured with --neighbours={}, now {}",
               neighbours(before), neighbours(now));
  const ordered_json &sizes = before.at("sizes"), &sizes_now = now.at("sizes");
  compare(sizes, sizes_now);
  if (differences.empty()) compare(sizes.at("model"), sizes_now.at("model"));
  TANDEM_CHECK(differences.empty(), "--baseline: measured at other sizes: {}", fmt::join(differences, "; "));
}

}  // namespace

int64_t Comparison::worse() const {
  return std::count_if(moved.begin(), moved.end(),
                       [this](const Change& change) { return change.factor() > 1 + tolerance; });
}

Comparison compare_records(const ordered_json& before, const ordered_json& now, double tolerance) {
  Comparison result = reading([&] { return compared(before, now, tolerance); });
  TANDEM_CHECK(
      result.compared > 0, "--baseline: nothing that was run can be compared; the record is of {}, in {}",
      fmt::join(names_in(before, "targets"), ", "), fmt::join(names_in(before, "precisions"), " and "));
  return result;
}

void check_comparable(const ordered_json& before, const ordered_json& now) {
  reading([&] { check_device_and_sizes(before, now); });
}

std::string comparison_text(const Comparison& comparison) {
  if (comparison.moved.empty() && comparison.added.empty() && comparison.missing.empty())
    return fmt::format("nothing moved beyond noise, of {} quantities\n", comparison.compared);
  std::string text = fmt::format("{} of {} quantities moved beyond noise; times in units of their floors\n",
                                 comparison.moved.size(), comparison.compared);
  if (!comparison.moved.empty())
    text += fmt::format("  {:<7} {:<62} {:<28} {:<28} {}\n", "", "quantity", "then", "now", "factor");
  for (const Change& change : comparison.moved)
    text += fmt::format("  {:<7} {:<62} {:<28} {:<28} {:.3g}\n", verdict(change), change.name,
                        value_text(change.before, change.unit), value_text(change.now, change.unit),
                        change.factor());
  for (const std::string& name : comparison.added) text += fmt::format("  {:<7} {}\n", "new", name);
  for (const std::string& name : comparison.missing) text += fmt::format("  {:<7} {}\n", "missing", name);
  return text;
}

ordered_json comparison_json(const Comparison& comparison) {
  ordered_json moved = ordered_json::array();
  for (const Change& change : comparison.moved)
    moved.push_back({{"quantity", change.name},
                     {"unit", change.unit},
                     {"then", change.before.median},
                     {"now", change.now.median},
                     {"factor", change.factor()},
                     {"verdict", verdict(change)}});
  return {
      {"tolerance", comparison.tolerance}, {"compared", comparison.compared}, {"moved", moved},
      {"new", comparison.added},           {"missing", comparison.missing},   {"worse", comparison.worse()}};
}

std::string peaks_then_and_now(const ordered_json& before, const ordered_json& now) {
  std::vector<std::string> parts;
  reading([&] {
    const ordered_json& then = before.at("peaks");
    for (const auto& [precision, gflops] : now.at("peaks").items())
      if (then.contains(precision))
        parts.push_back(fmt::format("{} {:.1f} then, {:.1f} now", precision, then[precision].get<double>(),
                                    gflops.get<double>()));
  });
  return fmt::format("{}", fmt::join(parts, "; "));
}

}  // namespace tandem
