// Timing for benchmarks: the device, repeated timings, their median and range.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tandem/core/device.h"

namespace tandem {

class CachingAllocator;
namespace cuda {
class Graph;
}

// The device of this thread's benchmarks, on which cases are made and timed and peaks are measured. The CPU,
// unless a BenchDeviceScope says otherwise.
Device bench_device();
class BenchDeviceScope {
 public:
  explicit BenchDeviceScope(Device device);
  ~BenchDeviceScope();
  BenchDeviceScope(const BenchDeviceScope&) = delete;
  BenchDeviceScope& operator=(const BenchDeviceScope&) = delete;

 private:
  Device outer_;
};

CachingAllocator& bench_allocator();  // the allocator of the bench device

// Statistics of several timings. On a shared machine the median shows what is usual, the minimum what is
// possible.
struct Spread {
  double min = 0, median = 0, max = 0;
};

// Returns the statistics of timings. Error: there are none.
Spread spread_of(std::vector<double> ms);

// Returns "12.34 (12.01 .. 14.90)", median and range, with three or more significant digits.
std::string spread_text(const Spread& ms);

// Returns the milliseconds that f() takes, by the clock of the host.
template <class F>
double time_ms(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  std::forward<F>(f)();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

// Returns the number of runs in a round of a few milliseconds, if one run takes this long.
int repeats_in_round(double once_ms);

// Work that is timed repeatedly, on the bench device at the time of construction. On a GPU the time is that
// of the device: after one run by itself, several runs are recorded as one CUDA graph, so that launches by
// the host do not count. Without graphs (TANDEM_ALLOCATOR=direct), or if a graph cannot hold the work
// (adaptive_softmax waits for the device), the runs are enqueued one by one, and launches count.
class TimedWork {
 public:
  explicit TimedWork(std::function<void()> work);

  // Returns the mean milliseconds of `repeats` runs in a row. Error: what `work` throws.
  double run_ms(int repeats);
  // Runs a round of a few milliseconds; returns its best run on a CPU, the mean on a GPU.
  double round_ms();

 private:
  double time_on_gpu(int repeats);

  std::function<void()> work_;
  Device device_;
  std::shared_ptr<cuda::Graph> graph_;
  int recorded_ = 0;        // number of runs in the graph
  bool graphless_ = false;  // a graph cannot hold the work
};

}  // namespace tandem
