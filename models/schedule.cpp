// Warm-up and the decays.
#include "models/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"

namespace tandem {

Schedule::Schedule(ScheduleConfig config) : config_(std::move(config)) {
  const auto& [kind, lr, warmup, steps] = config_;
  CHECK(kind == "cosine" || kind == "linear" || kind == "constant",
        "schedule: unknown kind \"{}\"; use cosine, linear or constant", kind);
  CHECK(std::isfinite(lr) && lr >= 0, "schedule: learning rate {}; it must be a finite number, 0 or more",
        lr);
  CHECK(warmup >= 0, "schedule: warm-up of {} steps; use 0 for none", warmup);
  if (kind == "constant") return;
  CHECK(steps >= 1, "schedule: {} needs the number of steps, got {}", kind, steps);
  CHECK(warmup <= steps, "schedule: warm-up of {} steps, but there are {} in all; shorten it", warmup, steps);
}

double Schedule::lr(int64_t step) const {
  const auto& [kind, lr, warmup, steps] = config_;
  CHECK(step >= 0, "schedule: step {}; the first update is step 0", step);
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (kind == "constant") return lr;
  if (step >= steps) return 0;
  if (kind == "linear") return lr * static_cast<double>(steps - step) / static_cast<double>(steps - warmup);
  const auto one_plus_cos = [steps](int64_t n) {
    return 1 + std::cos(std::numbers::pi * static_cast<double>(n) / static_cast<double>(steps));
  };
  return lr * one_plus_cos(step) / one_plus_cos(std::max<int64_t>(warmup - 1, 0));
}

}  // namespace tandem
