// Agreement of both sides, and rows of the table.
#include <fmt/format.h>

#include <cmath>

#include "tandem/core/check.h"
#include "tandem/tools/run/cli.h"
#include "tools/bench/timing.h"
#include "tools/bench/versus.h"

namespace tandem {
namespace {

std::string value_text(double value) {
  if (value >= 1000) return with_commas(std::llround(value));
  return fmt::format("{:.{}f}", value, value < 10 ? 2 : value < 100 ? 1 : 0);
}

template <class Text>
std::string spread_cell(const std::vector<double>& values, const Text& text) {
  const Spread spread = spread_of(values);
  return fmt::format("{} ({} .. {})", text(spread.median), text(spread.min), text(spread.max));
}

}  // namespace

std::string comparison_row(const Compared& quantity) {
  TANDEM_CHECK(quantity.ours.size() == quantity.theirs.size(), "{}: {} rounds of one side, {} of the other",
               quantity.name, quantity.ours.size(), quantity.theirs.size());
  std::vector<double> ratios;
  for (size_t i = 0; i < quantity.ours.size(); ++i) ratios.push_back(quantity.ours[i] / quantity.theirs[i]);
  return fmt::format("| {} | {} | {} | {} |", quantity.name, spread_cell(quantity.ours, value_text),
                     spread_cell(quantity.theirs, value_text),
                     spread_cell(ratios, [](double ratio) { return fmt::format("{:.3f}", ratio); }));
}

void check_agreement(const std::string& what, double ours, double theirs, double tolerance) {
  TANDEM_CHECK(std::abs(ours - theirs) <= tolerance * std::abs(theirs),
               "{}: {:.7g} of Tandem and {:.7g} of the other are {:.1e} apart; at most {:.0e}", what, ours,
               theirs, std::abs(ours - theirs) / std::abs(theirs), tolerance);
}

}  // namespace tandem
