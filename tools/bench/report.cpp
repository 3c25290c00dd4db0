// Rounds of measurement, and the table of their results.
#include "tools/bench/report.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "tandem/core/caching_allocator.h"
#include "tandem/core/check.h"

namespace tandem {
namespace {

constexpr MatmulPrecision kPrecisions[] = {MatmulPrecision::f32, MatmulPrecision::tf32,
                                           MatmulPrecision::bf16};

double size_mib(double bytes) {
  return bytes / (1 << 20);
}

// What bounds a pass, timed beside it in each round: a product, scaled to the operations of the pass, or a
// copy of as many bytes.
class Floor {
 public:
  Floor(const Work& work, MatmulPrecision precision) : flops_(work.flops) {
    if (work.flops > 0)
      product_ = std::make_unique<ProductBench>(precision);
    else if (work.bytes > 0)
      copy_ = std::make_unique<CopyBench>(static_cast<size_t>(work.bytes));
  }
  void run(double pass_ms) {
    if (product_) ratios_.push_back(pass_ms / product_->floor_ms(flops_));
    if (!copy_) return;
    const double ms = std::max(copy_->round_ms(), 1e-6);  // at least a tick of the clock
    ratios_.push_back(pass_ms / ms);
    best_copy_ms_ = std::min(best_copy_ms_, ms);
  }
  Spread ratios() const { return ratios_.empty() ? Spread() : spread_of(ratios_); }
  double copy_gbs() const {
    return copy_ ? static_cast<double>(copy_->bytes_moved()) / best_copy_ms_ / 1e6 : 0;
  }

 private:
  double flops_;
  std::unique_ptr<ProductBench> product_;
  std::unique_ptr<CopyBench> copy_;
  double best_copy_ms_ = INFINITY;
  std::vector<double> ratios_;
};

std::string rate_text(const Work& work, double ms, double copy_gbs, const Peaks& peaks,
                      MatmulPrecision precision) {
  if (work.empty()) return "nothing to move";
  if (ms <= 0) return "too short to be told from noise";  // on a GPU the time of a pass is a difference
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
  TANDEM_CHECK(rounds >= 1, "benchmark: {} rounds; at least 1", rounds);
  BenchResult result;
  result.error = check_case(c);
  result.peak_bytes = peak_bytes(c);  // also wakes the threads
  const PassTimes once = c.run(1);
  const int repeats = repeats_in_round(once.forward_ms + once.backward_ms);
  Floor forward(c.forward, c.precision), backward(c.backward, c.precision);
  std::vector<double> forward_ms, backward_ms;
  for (int round = 0; round < rounds; ++round) {
    const PassTimes times = c.run(repeats);
    forward_ms.push_back(times.forward_ms);
    backward_ms.push_back(times.backward_ms);
    forward.run(times.forward_ms);
    backward.run(times.backward_ms);
  }
  result.forward_ms = spread_of(forward_ms);
  result.backward_ms = spread_of(backward_ms);
  result.forward_copy_gbs = forward.copy_gbs();
  result.backward_copy_gbs = backward.copy_gbs();
  result.forward_floors = forward.ratios();
  result.backward_floors = backward.ratios();
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

Peaks PeakTable::peaks() const {
  Peaks peaks;
  for (const auto& [precision, peak] : products)
    (precision == MatmulPrecision::bf16   ? peaks.bf16_gflops
     : precision == MatmulPrecision::tf32 ? peaks.tf32_gflops
                                          : peaks.f32_gflops) = peak.gflops;
  return peaks;
}

PeakTable measure_peak_table(int rounds) {
  PeakTable table;
  for (const MatmulPrecision precision : kPrecisions)
    if (bench_has(precision)) table.products.emplace_back(precision, measure_gemm_peak(precision, rounds));
  for (const size_t bytes :
       {memory_bytes(), size_t{1} << 18, size_t{1} << 21, size_t{1} << 24, size_t{1} << 26})
    if (bytes <= memory_bytes()) table.copies.push_back({bytes, measure_copy_gbs(bytes, rounds)});
  if (bench_device().is_cpu()) table.read_gbs = measure_read_gbs(memory_bytes(), rounds);
  return table;
}

std::string peak_text(const PeakTable& table) {
  std::string text;
  for (const auto& [precision, peak] : table.products) {
    text += fmt::format("products {}: {}\n", name_of(precision), flops_text(peak.gflops));
    for (const GemmPeak::Row& row : peak.rows)
      text += fmt::format("  {:<20} {:>16}\n", row.shape, flops_text(row.gflops));
  }
  for (const MatmulPrecision precision : kPrecisions)
    if (!bench_has(precision))
      text += fmt::format("products {}: none on this {}\n", name_of(precision),
                          bench_device().is_cpu() ? "CPU" : "GPU");
  const auto mib = [](const PeakTable::Copy& copy) { return size_mib(static_cast<double>(copy.bytes)); };
  text += fmt::format("copy: {:.1f} GB/s, half read, half written, of {:.0f} MiB\n", table.copies[0].gbs,
                      mib(table.copies[0]));
  for (size_t i = 1; i < table.copies.size(); ++i)
    text += fmt::format("  {:<20} {:8.1f} GB/s\n", fmt::format("{:.4g} MiB", mib(table.copies[i])),
                        table.copies[i].gbs);
  if (table.read_gbs > 0)
    text += fmt::format("read: {:.1f} GB/s of {:.0f} MiB, in several streams a thread\n", table.read_gbs,
                        mib(table.copies[0]));
  return text;
}

}  // namespace tandem
