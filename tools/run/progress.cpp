// Progress lines.
#include "tandem/tools/run/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "tandem/core/backend.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/ranks.h"
#include "tandem/models/training/score.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/metrics.h"
#include "tandem/tools/run/output.h"

namespace tandem {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr double kRedrawSeconds = 0.2;
constexpr double kSmoothing = 0.98;  // of the live line, a step

// Returns the columns of the terminal: a longer line could not be overwritten.
size_t terminal_width() {
  constexpr size_t kUsual = 80;
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : kUsual;
}

}  // namespace

Progress::Progress(int64_t first_step, int64_t last_step, const ProgressOptions& options)
    : first_step_(first_step),
      last_step_(last_step),
      options_(options),
      terminal_(isatty(STDOUT_FILENO) != 0 && !launched_as_rank()),  // mpirun gives its ranks one, always
      start_(now()) {}

double Progress::seconds_since_start() const {
  return now() - start_;
}

std::string Progress::line(const StepRecord& record) const {
  const double mean_ms = ms_sum_ / static_cast<double>(steps_);
  const std::string loss =
      record.skipped ? fmt::format("skipped: loss {} gradient norm {}", record.loss, record.gradient_norm)
                     : fmt::format("loss {:.4f} ({})", loss_sum_ / static_cast<double>(steps_),
                                   score_text(options_.level, loss_sum_ / static_cast<double>(steps_)));
  std::string utilisation;
  if (options_.flops_per_token > 0 && options_.peak_flops > 0)
    utilisation =
        fmt::format("  MFU {:.1f} %", 100 * options_.flops_per_token * static_cast<double>(tokens_) /
                                          (ms_sum_ / 1e3) / options_.peak_flops);
  if (exchange_ms_sum_ > 0)
    utilisation += fmt::format("  exchange {:.0f} %", 100 * exchange_ms_sum_ / ms_sum_);
  return fmt::format(
      "step {:>{}}/{}  {}  lr {:.2e}  grad {:.3f}  {:.0f} ms  {:.1f}k tok/s{}  {:.0f} MB  ETA {}",
      record.step, fmt::formatted_size("{}", last_step_), last_step_, loss, record.lr, record.gradient_norm,
      mean_ms, static_cast<double>(tokens_) / ms_sum_, utilisation,
      static_cast<double>(peak_memory_bytes(options_.device)) / 1e6, remaining_time(record.step));
}

std::string Progress::remaining_time(int64_t step) const {
  // Includes evaluations: the remaining steps will have them too.
  const double per_step = seconds_since_start() / static_cast<double>(step - first_step_);
  return duration_text(per_step * static_cast<double>(last_step_ - step));
}

std::string Progress::live_line(const StepRecord& record) const {
  const double loss = smoothed_loss_ / smoothing_weight_, ms = smoothed_ms_ / smoothing_weight_;
  std::string text = fmt::format("step {}/{}  loss {:.4f} ({}) smoothed", record.step, last_step_, loss,
                                 score_text(options_.level, loss));
  if (best_dev_nats_) text += fmt::format("  best dev {}", score_text(options_.level, *best_dev_nats_));
  text += fmt::format("  {:.1f}k tok/s", static_cast<double>(record.tokens) / ms);
  if (options_.eval_every > 0) {
    const int64_t until =
        std::min(options_.eval_every - record.step % options_.eval_every, last_step_ - record.step);
    text += fmt::format("  evaluation in {}", duration_text(static_cast<double>(until) * ms / 1e3));
  }
  return text + fmt::format("  ETA {}", remaining_time(record.step));
}

void Progress::step(const StepRecord& record, double ms) {
  ++steps_;
  loss_sum_ += record.loss;
  ms_sum_ += ms;
  exchange_ms_sum_ += 1e3 * record.exchange_seconds;
  tokens_ += record.tokens;
  if (!record.skipped) {
    smoothed_loss_ = kSmoothing * smoothed_loss_ + (1 - kSmoothing) * record.loss;
    smoothed_ms_ = kSmoothing * smoothed_ms_ + (1 - kSmoothing) * ms;
    smoothing_weight_ = kSmoothing * smoothing_weight_ + (1 - kSmoothing);
  }
  const bool due =
      record.step % options_.every == 0 || record.step == last_step_ || record.step == first_step_ + 1;
  if (due || record.skipped) {
    say(line(record));
    steps_ = tokens_ = 0;
    loss_sum_ = ms_sum_ = exchange_ms_sum_ = 0;
  } else if (terminal_ && now() - last_drawn_ > kRedrawSeconds && smoothing_weight_ > 0) {
    tandem::say("\r\x1b[K" + live_line(record).substr(0, terminal_width() - 1));
    last_drawn_ = now();
    live_ = true;
  }
}

int64_t peak_memory_bytes(Device device) {
  if constexpr (kWithCuda)
    if (device.is_cuda()) return static_cast<int64_t>(cuda::allocator().statistics().peak_in_use);
  return peak_resident_bytes();
}

void Progress::say(const std::string& message) {
  tandem::say((live_ ? "\r\x1b[K" : "") + message + "\n");
  live_ = false;
}

}  // namespace tandem
