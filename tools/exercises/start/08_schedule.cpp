// Exercise 8, a learning-rate schedule: up, level, down ("warm-up, stable, decay").
//
// Write the rate of update `step`, which counts from 0. It rises linearly over the first `warmup` updates, the last of which
// has the rate `peak` and the first of which is not 0. It falls linearly over the last `cooldown` of all `steps` updates, of
// which the last has the rate peak / cooldown; from update `steps` on it is 0. In between it is `peak`. Either phase may
// have no update at all.
#include <cstdint>

double learning_rate(int64_t step, double peak, int64_t warmup, int64_t cooldown, int64_t steps) {
  (void)step, (void)warmup, (void)cooldown, (void)steps;  // not used yet
  return peak;
}
