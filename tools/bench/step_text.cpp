// The report of a training step.
#include "tandem/core/backend.h"
#include "tandem/core/check.h"
#include "tandem/tools/run/cli.h"
#include "tools/bench/step.h"

namespace tandem {
namespace {

double mib(size_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

std::string split_text(const StepResult& r) {
  const double step = r.split_ms;
  std::string text = fmt::format("  {:<28} {:>6} {:>12} {:>12} {:>8}\n", "operator", "calls", "forward ms",
                                 "backward ms", "share");
  for (const OperatorTime& time : r.operators)
    text += fmt::format("  {:<28} {:>6} {:>12.3f} {:>12.3f} {:>6.1f} %\n", time.name, time.calls,
                        time.forward_ms, time.backward_ms, 100 * (time.forward_ms + time.backward_ms) / step);
  for (const auto& [name, ms] : {std::pair{r.optimizer + " (timed apart)", r.optimizer_ms},
                                 std::pair{std::string("the rest: batches, state"), r.rest_ms}})
    text += fmt::format("  {:<35} {:>12.3f} {:>12} {:>6.1f} %\n", name, ms, "", 100 * ms / step);
  return text;
}

std::string floor_text(const StepResult& r, const Peaks& peaks) {
  const double gflop = static_cast<double>(r.flops.f32 + r.flops.bf16) / 1e9;
  std::string at_peak;
  if (r.flops.f32 > 0)
    at_peak += fmt::format(" {} {}", flops_text(peaks.gflops(r.wide())), name_of(r.wide()));
  if (r.flops.bf16 > 0) at_peak += fmt::format(" {} bf16", flops_text(peaks.bf16_gflops));
  std::string text = fmt::format(
      "  products: {:.2f} GFLOP a step ({:.0f} % in bf16)\n"
      "  floor at the measured peak,{}: {:.2f} ms; step / floor = {:.2f}\n",
      gflop, 100 * static_cast<double>(r.flops.bf16) / 1e9 / gflop, at_peak, r.peak_floor_ms,
      r.step_ms.median / r.peak_floor_ms);
  if (r.replay_ms.median > 0)
    text += fmt::format("  floor in practice, the same products back to back: {} ms; step / floor = {:.2f}\n",
                        spread_text(r.replay_ms), r.step_ms.median / r.replay_ms.median);
  return text;
}

// On a GPU: the time without a graph, and the share of the peak that the step reaches (MFU).
std::string gpu_text(const StepResult& r, const Peaks& peaks) {
  std::string text = fmt::format(
      "  operator by operator: {} ms, {} tokens/s\n", spread_text(r.eager_ms),
      with_commas(static_cast<int64_t>(1e3 * static_cast<double>(r.tokens_per_step) / r.eager_ms.median)));
  if (!r.graph_refusal.empty()) text += fmt::format("  no CUDA graph: {}\n", r.graph_refusal);
  const double peak = peaks.gflops(r.precision);
  const auto share = [&r](double gflops) { return r.flops_per_second() / gflops / 1e7; };
  const std::string of_measured = fmt::format("{:.1f} % of the measured {}", share(peak), flops_text(peak));
  const std::string a_token = fmt::format("{:.2f} GFLOP a token", r.flops_per_token / 1e9);
  const double sheet = 1e3 * peak_tflops(cuda_status().name, r.precision);
  if (sheet > 0)
    text += fmt::format("  MFU: {:.1f} % of the data sheet's {}; {}; {}\n", share(sheet), flops_text(sheet),
                        of_measured, a_token);
  else
    text += fmt::format("  MFU: no data sheet for {}; {}; {}\n", cuda_status().name, of_measured, a_token);
  return text;
}

}  // namespace

std::string step_text(const StepResult& r, const Peaks& peaks) {
  return fmt::format("step {}{}: {} ms, {} tokens/s ({} tokens a step, {} steps)\n", name_of(r.precision),
                     r.recompute ? " with recomputation" : "", spread_text(r.step_ms),
                     with_commas(static_cast<int64_t>(r.tokens_per_second())), with_commas(r.tokens_per_step),
                     r.steps) +
         (r.eager_ms.median > 0 ? gpu_text(r, peaks) : "") + split_text(r) + floor_text(r, peaks) +
         fmt::format(
             "  memory: {:.1f} MiB in tensors at most, {:.1f} MiB held by the allocator, {:.1f} MiB "
             "resident\n"
             "  allocations from the system in the timed steps: {}\n",
             mib(r.peak_bytes), mib(r.reserved_bytes), mib(r.resident_bytes), r.system_allocations);
}

}  // namespace tandem
