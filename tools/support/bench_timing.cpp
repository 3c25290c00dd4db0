// Medians and how they are written.
#include "tools/support/bench_timing.h"

#include <algorithm>

#include "core/check.h"

namespace tandem {
namespace {

std::string number_text(double ms) {
  return fmt::format("{:.{}f}", ms, ms < 1 ? 4 : ms < 10 ? 3 : ms < 100 ? 2 : 1);
}

}  // namespace

Spread spread_of(std::vector<double> ms) {
  CHECK(!ms.empty(), "benchmark: no timings; run at least one round");
  std::sort(ms.begin(), ms.end());
  const size_t half = ms.size() / 2;
  const double median = ms.size() % 2 == 1 ? ms[half] : (ms[half - 1] + ms[half]) / 2;
  return {ms.front(), median, ms.back()};
}

std::string spread_text(const Spread& ms) {
  return fmt::format("{} ({} .. {})", number_text(ms.median), number_text(ms.min), number_text(ms.max));
}

}  // namespace tandem
