// The warm-up and the decays.
#include "tandem/models/training/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tandem/core/check.h"

namespace tandem {
namespace {

constexpr const char* kKinds[] = {"cosine", "cosine-cycles", "linear",  "exponential",
                                  "rsqrt",  "noam",          "constant"};

double half_cosine(double part) {
  return (1 + std::cos(std::numbers::pi * part)) / 2;
}

}  // namespace

Schedule::Schedule(ScheduleConfig config) : config_(std::move(config)) {
  const ScheduleConfig& c = config_;
  TANDEM_CHECK(std::find(std::begin(kKinds), std::end(kKinds), c.kind) != std::end(kKinds),
               "schedule: unknown kind \"{}\"; use {}", c.kind, fmt::join(kKinds, ", "));
  TANDEM_CHECK(std::isfinite(c.lr) && c.lr >= 0,
               "schedule: learning rate {}; it must be a finite number, 0 or more", c.lr);
  TANDEM_CHECK(c.warmup >= 0, "schedule: warm-up of {} steps; use 0 for none", c.warmup);
  if (c.kind == "constant") return;
  if (c.kind == "rsqrt" || c.kind == "noam") {
    TANDEM_CHECK(c.warmup > 0,
                 "schedule: {} falls from the end of the warm-up on and needs one, got {} steps", c.kind,
                 c.warmup);
    TANDEM_CHECK(c.kind == "rsqrt" || c.width > 0, "schedule: noam needs the model's width, got {}", c.width);
    return;
  }
  TANDEM_CHECK(c.steps >= 1, "schedule: {} needs the number of steps, got {}", c.kind, c.steps);
  TANDEM_CHECK(c.warmup <= c.steps, "schedule: warm-up of {} steps, but there are {} in all; shorten it",
               c.warmup, c.steps);
  TANDEM_CHECK(c.floor >= 0 && c.floor <= c.lr, "schedule: the floor {} must be between 0 and the rate {}",
               c.floor, c.lr);
  TANDEM_CHECK(c.kind != "exponential" || (c.floor > 0 && c.warmup == 0),
               "schedule: exponential rises from the floor {} with a warm-up of {} steps; the floor must be "
               "above 0, and there must be no warm-up",
               c.floor, c.warmup);
  TANDEM_CHECK(c.cycle >= 0 && c.cycle_growth >= 1 && c.cycle_shrink > 0 && c.cycle_shrink <= 1,
               "schedule: a cycle of {} steps, each next one {} times as long and with {} "
               "of the rate; give 0 or more, 1 or more, and a factor in (0, 1]",
               c.cycle, c.cycle_growth, c.cycle_shrink);
}

double Schedule::cycle_lr(double since_warmup) const {
  const ScheduleConfig& c = config_;
  double length = static_cast<double>(c.cycle > 0 ? c.cycle : c.steps - c.warmup), share = 1;
  while (since_warmup >= length) {
    since_warmup -= length;
    length *= c.cycle_growth;
    share *= c.cycle_shrink;
  }
  return share * (c.floor + (c.lr - c.floor) * half_cosine(since_warmup / length));
}

double Schedule::lr(int64_t step) const {
  const double lr = config_.lr, warmup = static_cast<double>(config_.warmup),
               steps = static_cast<double>(config_.steps);
  const double n = static_cast<double>(step);
  const std::string& kind = config_.kind;
  TANDEM_CHECK(step >= 0, "schedule: step {}; the first update is step 0", step);
  const double peak = kind == "noam" ? lr / std::sqrt(static_cast<double>(config_.width) * warmup) : lr;
  if (n < warmup) return peak * (n + 1) / warmup;
  if (kind == "constant") return lr;
  if (kind == "rsqrt" || kind == "noam") return peak * std::sqrt(warmup / (n + 1));
  if (n >= steps) return 0;
  if (kind == "exponential") {
    const double part = steps > 1 ? n / (steps - 1) : 1;
    return config_.floor * std::pow(lr / config_.floor, part);
  }
  if (kind == "linear") return lr * (steps - n) / (steps - warmup);
  if (kind == "cosine-cycles") return cycle_lr(n - warmup);
  return lr * half_cosine(n / steps) / half_cosine(std::max(warmup - 1, 0.0) / steps);
}

}  // namespace tandem
