// Processor time of this process: what a test measures where only the growth with the size of the input matters. Other
// programs on the machine do not count.
#pragma once
#include <algorithm>
#include <ctime>
#include <functional>

namespace tandem::testing {

inline double processor_seconds(const std::function<void()>& work) {
  const std::clock_t start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

// Returns whether four times the size takes less than ten times as long: 4 is linear, 16 quadratic. prepare(size) returns
// what is measured. Each is the best of three, and 50 ms are allowed for what does not depend on the size.
inline bool grows_linearly(const std::function<std::function<void()>(int size)>& prepare, int size) {
  const auto seconds = [](const std::function<void()>& work) {
    return std::min({processor_seconds(work), processor_seconds(work), processor_seconds(work)});
  };
  const double small = seconds(prepare(size)), large = seconds(prepare(4 * size));
  return large < 10 * small + 0.05;
}

}  // namespace tandem::testing
