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
  const double lr = config_.lr, warmup = static_cast<double>(config_.warmup),
               steps = static_cast<double>(config_.steps);
  const double n = static_cast<double>(step);
  CHECK(step >= 0, "schedule: step {}; the first update is step 0", step);
  if (n < warmup) return lr * (n + 1) / warmup;
  if (config_.kind == "constant") return lr;
  if (n >= steps) return 0;
  if (config_.kind == "linear") return lr * (steps - n) / (steps - warmup);
  const auto one_plus_cos = [steps](double k) { return 1 + std::cos(std::numbers::pi * k / steps); };
  return lr * one_plus_cos(n) / one_plus_cos(std::max(warmup - 1, 0.0));
}

}  // namespace tandem
