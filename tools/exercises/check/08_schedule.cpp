// Checks exercise 8 against the rates of every update, phase by phase, so that the hint names the phase.
#include "tools/exercises/check/exercise.h"

using namespace exercises;

double learning_rate(int64_t step, double peak, int64_t warmup, int64_t cooldown, int64_t steps);

EXERCISE(08) {
  struct Case {
    double peak;
    int64_t warmup, cooldown, steps;
  };
  for (const Case& c : {Case{0.1, 4, 5, 20}, Case{3, 1, 1, 2}, Case{1, 0, 4, 10}, Case{1, 4, 0, 10},
                        Case{2, 0, 0, 3}, Case{1, 5, 5, 10}}) {
    for (int64_t step = 0; step < c.steps + 3; ++step) {
      double wanted = c.peak;
      std::string phase = "between warm-up and cool-down";
      if (step < c.warmup) {
        wanted = c.peak * static_cast<double>(step + 1) / static_cast<double>(c.warmup);
        phase = "in the warm-up";
      } else if (step >= c.steps) {
        wanted = 0;
        phase = "after the last update";
      } else if (step >= c.steps - c.cooldown) {
        wanted = c.peak * static_cast<double>(c.steps - step) / static_cast<double>(c.cooldown);
        phase = "in the cool-down";
      }
      const double found = learning_rate(step, c.peak, c.warmup, c.cooldown, c.steps);
      expect(is_close(found, wanted), "update " + std::to_string(step) + ", " + phase + ", has the rate " +
                                          text_of(found) + " instead of " + text_of(wanted) + " (peak " +
                                          text_of(c.peak) + ", warm-up " + std::to_string(c.warmup) +
                                          ", cool-down " + std::to_string(c.cooldown) + ", steps " +
                                          std::to_string(c.steps) + ")");
    }
  }
}
