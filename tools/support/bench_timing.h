// Timing for benchmarks: warm up, repeat, and report the middle and the ends of what was seen.
#pragma once
#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace tandem {

// Of several timings in milliseconds. On a shared machine the median stands for what is usual, the minimum
// for what is possible.
struct Spread {
  double min = 0, median = 0, max = 0;
};

// Error: no timings.
Spread spread_of(std::vector<double> ms);

// "12.34 (12.01 .. 14.90)", with digits that suit the size.
std::string spread_text(const Spread& ms);

class Stopwatch {
 public:
  Stopwatch() : start_(std::chrono::steady_clock::now()) {}
  double ms() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_;
};

template <class F>
double time_ms(F&& f) {
  const Stopwatch watch;
  std::forward<F>(f)();
  return watch.ms();
}

}  // namespace tandem
