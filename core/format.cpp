// Numbers as text for people.
#include "tandem/core/format.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

namespace tandem {

std::string bytes_text(size_t bytes, size_t largest) {
  if (bytes < largest) return fmt::format("{} B", bytes);
  const double limit = static_cast<double>(largest), kib = static_cast<double>(bytes) / 1024;
  if (kib < limit) return fmt::format("{:.1f} KiB", kib);
  if (kib / 1024 < limit) return fmt::format("{:.1f} MiB", kib / 1024);
  return fmt::format("{:.2f} GiB", kib / 1024 / 1024);
}

std::string duration_text(double seconds) {
  const auto whole = static_cast<int64_t>(std::llround(std::max(seconds, 0.0)));
  if (whole < 60) return fmt::format("{}s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole / 60 % 60);
}

std::string with_commas(int64_t number) {
  std::string text = std::to_string(number);
  const size_t sign = number < 0 ? 1 : 0;
  for (size_t at = text.size(); at > sign + 3;) text.insert(at -= 3, ",");
  return text;
}

}  // namespace tandem
