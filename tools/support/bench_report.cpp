// Rounds of measurement and their table.
#include "tools/support/bench_report.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "core/caching_allocator.h"
#include "core/check.h"

namespace tandem {
namespace {

double size_mib(double bytes) {
  return bytes / (1 << 20);
}

// A copy that moves as many bytes as a pass must; none where the pass is not bound by memory.
class Yardstick {
 public:
  explicit Yardstick(const Work& work) {
    if (work.flops == 0 && work.bytes > 0)
      copy_ = std::make_unique<CopyBench>(static_cast<size_t>(work.bytes));
  }
  void run() {
    if (copy_) best_ms_ = std::min(best_ms_, copy_->round_ms());
  }
  double gbs() const { return copy_ ? static_cast<double>(copy_->bytes_moved()) / best_ms_ / 1e6 : 0; }

 private:
  std::unique_ptr<CopyBench> copy_;
  double best_ms_ = INFINITY;
};

std::string rate_text(const Work& work, double ms, double copy_gbs, const Peaks& peaks,
                      MatmulPrecision precision) {
  if (work.empty()) return "nothing to move";
  if (ms <= 0) return "too short to be told from noise";  // a pass is a difference on a GPU
  if (work.flops > 0) {
    const double gflops = work.flops / ms / 1e6;
    return fmt::format("{:>15}  {:4.0f} % of {} products", flops_text(gflops),
                       100 * gflops / peaks.gflops(precision), name_of(precision));
  }
  const double gbs = work.bytes / ms / 1e6;
  return fmt::format("{:7.1f} GB/s     {:4.0f} % of a copy of {:.3g} MiB at {:.1f} GB/s", gbs,
                     100 * gbs / copy_gbs, size_mib(work.bytes), copy_gbs);
}

std::string line_text(const std::string& what, const char* pass, const Spread& ms, const std::string& rest) {
  return fmt::format("{:<62} {:<8}  {:<28}  {}", what, pass, spread_text(ms), rest);
}

size_t peak_bytes(const BenchCase& c) {
  CachingAllocator& allocator = bench_allocator();
  allocator.reset_peak();
  const size_t before = allocator.statistics().in_use;
  c.run(1);
  return allocator.statistics().peak_in_use - before;
}

}  // namespace

BenchResult run_case(const BenchCase& c, int rounds) {
  CHECK(rounds >= 1, "benchmark: {} rounds; at least 1", rounds);
  BenchResult result;
  result.error = check_case(c);
  result.peak_bytes = peak_bytes(c);  // and wakes threads
  const PassTimes once = c.run(1);
  const int repeats = repeats_in_round(once.forward_ms + once.backward_ms);
  Yardstick forward(c.forward), backward(c.backward);
  std::vector<double> forward_ms, backward_ms;
  for (int round = 0; round < rounds; ++round) {
    const PassTimes times = c.run(repeats);
    forward_ms.push_back(times.forward_ms);
    backward_ms.push_back(times.backward_ms);
    forward.run();
    backward.run();
  }
  result.forward_ms = spread_of(forward_ms);
  result.backward_ms = spread_of(backward_ms);
  result.forward_copy_gbs = forward.gbs();
  result.backward_copy_gbs = backward.gbs();
  return result;
}

std::string result_header() {
  return fmt::format("{:<62} {:<8}  {:<28}  {}", "operator", "pass", "ms (min .. max)", "rate");
}

std::string result_text(const BenchCase& c, const BenchResult& r, const Peaks& peaks) {
  const std::string what = fmt::format("{} {} {}", c.op, name_of(c.precision), c.name);
  std::string text =
      line_text(what, "forward", r.forward_ms,
                rate_text(c.forward, r.forward_ms.median, r.forward_copy_gbs, peaks, c.precision));
  const std::string checked = fmt::format("  checked, error {:.1e}; takes {:.4g} MiB", r.error,
                                          size_mib(static_cast<double>(r.peak_bytes)));
  if (c.has_backward)
    text += "\n" +
            line_text(checked, "backward", r.backward_ms,
                      rate_text(c.backward, r.backward_ms.median, r.backward_copy_gbs, peaks, c.precision));
  else
    text += "\n" + checked;
  return text;
}

std::string peak_text(int rounds) {
  std::string text;
  for (const MatmulPrecision precision :
       {MatmulPrecision::f32, MatmulPrecision::tf32, MatmulPrecision::bf16}) {
    if (!bench_has(precision)) {
      text += fmt::format("products {}: none on this {}\n", name_of(precision),
                          bench_device().is_cpu() ? "CPU" : "GPU");
      continue;
    }
    const GemmPeak peak = measure_gemm_peak(precision, rounds);
    text += fmt::format("products {}: {}\n", name_of(precision), flops_text(peak.gflops));
    for (const GemmPeak::Row& row : peak.rows)
      text += fmt::format("  {:<20} {:>16}\n", row.shape, flops_text(row.gflops));
  }
  const auto mib = [](size_t bytes) { return size_mib(static_cast<double>(bytes)); };
  text += fmt::format("copy: {:.1f} GB/s, half read, half written, of {:.0f} MiB\n",
                      measure_copy_gbs(memory_bytes(), rounds), mib(memory_bytes()));
  for (const size_t bytes : {size_t{1} << 18, size_t{1} << 21, size_t{1} << 24, size_t{1} << 26})
    text += fmt::format("  {:<20} {:8.1f} GB/s\n", fmt::format("{:.4g} MiB", mib(bytes)),
                        measure_copy_gbs(bytes, rounds));
  return text;
}

}  // namespace tandem
