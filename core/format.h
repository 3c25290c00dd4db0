// Numbers as text for people: sizes, durations, counts.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace tandem {

// Returns "512 B", "1.5 KiB", "60.0 MiB" or "79.10 GiB": the smallest unit in which the number stays below `largest`.
std::string bytes_text(size_t bytes, size_t largest = 1024);

// Returns "7s", "4m32s" or "2h05m". Negative durations count as 0.
std::string duration_text(double seconds);

// Returns 1234567 as "1,234,567".
std::string with_commas(int64_t number);

}  // namespace tandem
