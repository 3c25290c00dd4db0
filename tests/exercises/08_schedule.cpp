// A right answer to exercise 8.
#include <cstdint>

double learning_rate(int64_t step, double peak, int64_t warmup, int64_t cooldown, int64_t steps) {
  if (step >= steps) return 0;
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (step >= steps - cooldown)
    return peak * static_cast<double>(steps - step) / static_cast<double>(cooldown);
  return peak;
}
