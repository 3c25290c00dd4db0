// The loop of the search, its smoothing and its page.
#include "tandem/tools/run/rate_search.h"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/metrics.h"
#include "tandem/tools/run/output.h"
#include "tandem/tools/run/progress.h"
#include "tandem/tools/run/run_folder.h"
#include "tandem/tools/run/stop_signals.h"

#ifndef TANDEM_TOOLS_DIR
#define TANDEM_TOOLS_DIR ""
#endif

namespace tandem {
namespace {

constexpr double kBelow = 1e-3, kAbove = 1e2;  // the range of the search, in rates of the recipe
constexpr double kSmoothing = 0.9;
constexpr double kLeastFall = 0.02;  // share of the first loss by which it must fall to mean anything
constexpr double kMostLost = 0.75;   // share of the fall that is lost again when the search ends

}  // namespace

RunConfig rate_search_config(RunConfig config, int64_t steps) {
  Recipe& recipe = config.recipe;
  recipe.schedule = "exponential";
  recipe.lr_floor = kBelow * recipe.lr;
  recipe.lr *= kAbove;
  recipe.warmup = 0;
  recipe.steps = steps;
  config.check();
  return config;
}

void RateCurve::add(double lr, double loss) {
  if (!std::isfinite(loss)) {
    finite_ = false;
    return;
  }
  sum_ = kSmoothing * sum_ + (1 - kSmoothing) * loss;
  weight_ = kSmoothing * weight_ + (1 - kSmoothing);
  rates_.push_back(lr);
  losses_.push_back(sum_ / weight_);
  if (losses_.back() < losses_[lowest_]) lowest_ = losses_.size() - 1;
}

bool RateCurve::is_over() const {
  if (!finite_ || losses_.empty()) return !finite_;
  const double fall = losses_.front() - losses_[lowest_];
  return fall > kLeastFall * losses_.front() && losses_.back() - losses_[lowest_] > kMostLost * fall;
}

std::optional<RateCurve::Finding> RateCurve::finding() const {
  if (losses_.empty() || losses_.front() - losses_[lowest_] <= kLeastFall * losses_.front())
    return std::nullopt;
  size_t steepest = 0;
  double most = 0;
  for (size_t i = 1; i + 1 < losses_.size() && i < lowest_; ++i) {
    const double slope = (losses_[i - 1] - losses_[i + 1]) / std::log(rates_[i + 1] / rates_[i - 1]);
    if (slope > most) most = slope, steepest = i;
  }
  return Finding{std::sqrt(rates_[steepest] * rates_[lowest_]), rates_[steepest], rates_[lowest_]};
}

void search_rate(Trainer& trainer, const RunOptions& options) {
  using Clock = std::chrono::steady_clock;
  Ranks& ranks = trainer.ranks();
  const PrecisionScope precision(trainer.precision(), trainer.device());
  const int64_t steps = trainer.config().recipe.steps;
  const StopSignals signals;
  std::optional<MetricsLog> metrics;
  if (ranks.leads()) metrics.emplace((options.folder / kMetrics).string(), 0);
  ProgressOptions shown = progress_options(trainer, options);
  shown.eval_every = 0;
  Progress progress(0, steps, shown);
  RateCurve curve;
  while (trainer.steps_done() < steps && !curve.is_over()) {
    if (ranks.largest(signals.received()) != 0)
      throw StoppedBySignal("stopped before the end; a search keeps nothing, so begin it anew");
    const Clock::time_point start = Clock::now();
    const StepRecord record = trainer.step();
    const double ms = 1e3 * std::chrono::duration<double>(Clock::now() - start).count();
    curve.add(record.lr, record.loss);
    progress.step(record, ms);
    if (metrics)
      metrics->write(step_row(record, ms, trainer.vocabulary().level(), peak_memory_bytes(trainer.device())));
  }
  if (!ranks.leads()) return;
  const std::optional<RateCurve::Finding> found = curve.finding();
  nlohmann::ordered_json row = {{"step", trainer.steps_done()}, {kEnd, "find_lr"}};
  if (found) {
    row["suggested_lr"] = found->suggested;
    row["steepest_lr"] = found->steepest;
    row["lowest_lr"] = found->lowest;
    const bool still_falls = found->lowest == curve.last_rate();
    progress.say(fmt::format(
        "the loss fell fastest at lr {:.2g} and was lowest at {:.2g}; suggested for the peak of a schedule: "
        "--lr={:.2g}{}",
        found->steepest, found->lowest, found->suggested,
        still_falls ? "; it still fell at the end, so a search around a larger --lr may find more" : ""));
  } else {
    progress.say(
        "the loss has hardly fallen, so no rate is suggested: search with more steps, or around another --lr");
  }
  metrics->write(row);
}

void write_report(const std::filesystem::path& folder) {
  std::string script = (std::filesystem::path(TANDEM_TOOLS_DIR) / "report").string(),
              argument = folder.string();
  char* const argv[] = {script.data(), argument.data(), nullptr};
  pid_t child = 0;
  int status = -1;
  if (std::filesystem::exists(script) &&
      posix_spawn(&child, script.c_str(), nullptr, nullptr, argv, environ) == 0 &&
      waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0)
    return;
  say(fmt::format("note: there is no page; `tools/report {}` of Tandem's sources, with python3, writes it\n",
                  argument));
}

}  // namespace tandem
