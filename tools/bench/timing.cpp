// Clocks of both devices; medians and their text.
#include "tools/bench/timing.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/backend.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/host_memory.h"
#include "tandem/cuda/runtime/graph.h"
#include "tandem/cuda/runtime/timing.h"

namespace tandem {
namespace {

constexpr double kRoundMs = 3;

thread_local Device device_of_benchmarks;

std::string number_text(double ms) {
  return fmt::format("{:.{}f}", ms, ms < 1 ? 4 : ms < 10 ? 3 : ms < 100 ? 2 : 1);
}

}  // namespace

Device bench_device() {
  return device_of_benchmarks;
}

BenchDeviceScope::BenchDeviceScope(Device device) : outer_(device_of_benchmarks) {
  device_of_benchmarks = device;
}
BenchDeviceScope::~BenchDeviceScope() {
  device_of_benchmarks = outer_;
}

CachingAllocator& bench_allocator() {
  if constexpr (kWithCuda)
    if (bench_device().is_cuda()) return cuda::allocator();
  return host_allocator();
}

Spread spread_of(std::vector<double> ms) {
  TANDEM_CHECK(!ms.empty(), "benchmark: no timings; run at least one round");
  std::sort(ms.begin(), ms.end());
  const size_t half = ms.size() / 2;
  const double median = ms.size() % 2 == 1 ? ms[half] : (ms[half - 1] + ms[half]) / 2;
  return {ms.front(), median, ms.back()};
}

std::string spread_text(const Spread& ms) {
  return fmt::format("{} ({} .. {})", number_text(ms.median), number_text(ms.min), number_text(ms.max));
}

int repeats_in_round(double once_ms) {
  return static_cast<int>(std::clamp(kRoundMs / std::max(once_ms, 1e-4), 1.0, 1000.0));
}

TimedWork::TimedWork(std::function<void()> work) : work_(std::move(work)), device_(bench_device()) {}

double TimedWork::run_ms(int repeats) {
  TANDEM_CHECK(repeats >= 1, "benchmark: {} repeats; at least 1", repeats);
  if (device_.is_cuda()) return time_on_gpu(repeats);
  const auto all = [this, repeats] {
    for (int i = 0; i < repeats; ++i) work_();
  };
  return time_ms(all) / repeats;
}

double TimedWork::time_on_gpu(int repeats) {
  double ms = 0;
  if constexpr (kWithCuda) {
    const auto all = [this, repeats] {
      for (int i = 0; i < repeats; ++i) work_();
    };
    if (graphless_ || allocator_mode_from_environment() == AllocatorMode::direct)
      return cuda::time_ms(all) / repeats;
    if (recorded_ != repeats) {
      graph_.reset();
      if (recorded_ == 0) work_();         // does what only a first run does
      cuda::allocator().release_cached();  // frees the memory of earlier graphs, which no other graph can use
      const auto graph = std::make_shared<cuda::Graph>();
      try {
        graph->capture(all);
      } catch (const Error&) {  // an error of the work itself is thrown again below
        graphless_ = true;
        return cuda::time_ms(all) / repeats;
      }
      graph_ = graph;
      recorded_ = repeats;
    }
    graph_->replay(0);  // keeps the device busy while the host enqueues the timed replay
    ms = cuda::time_ms([this] { graph_->replay(0); }) / repeats;
  }
  return ms;
}

double TimedWork::round_ms() {
  if (device_.is_cuda()) {
    if (recorded_ == 0) run_ms(repeats_in_round(run_ms(1)));
    return run_ms(std::max(recorded_, 1));
  }
  double best = INFINITY;
  for (double total = 0; total < kRoundMs;) {
    const double ms = run_ms(1);
    best = std::min(best, ms);
    total += ms + 1e-3;
  }
  return best;
}

}  // namespace tandem
