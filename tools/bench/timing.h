// Timing for benchmarks: on which device, over and over, and the middle and the ends of what was seen.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/device.h"

namespace tandem {

class CachingAllocator;
namespace cuda {
class Graph;
}

// The device that cases are made for, and that they and the peaks are timed on: of this thread; the CPU
// unless a scope says otherwise.
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

CachingAllocator& bench_allocator();  // of the bench device

// Of several timings in milliseconds. On a shared machine the median stands for what is usual, the minimum
// for what is possible.
struct Spread {
  double min = 0, median = 0, max = 0;
};

// Error: no timings.
Spread spread_of(std::vector<double> ms);

// "12.34 (12.01 .. 14.90)", with digits that suit the size.
std::string spread_text(const Spread& ms);

// By the host's clock.
template <class F>
double time_ms(F&& f) {
  const auto begin = std::chrono::steady_clock::now();
  std::forward<F>(f)();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

// How many runs make up a round of a few milliseconds, when one takes this long.
int repeats_in_round(double once_ms);

// Work that is timed again and again on the bench device of its making. On a GPU it is the device's time:
// several runs are recorded as one CUDA graph, after `work` has run once by itself, so that no launch by the
// host is in it. Where graphs cannot be (TANDEM_ALLOCATOR=direct), or cannot hold the work (adaptive_softmax
// waits for the device), runs are enqueued and the host counts.
class TimedWork {
 public:
  explicit TimedWork(std::function<void()> work);

  // Mean of `repeats` runs in a row. Error: what `work` throws.
  double run_ms(int repeats);
  // A round: on a CPU the best run, on a GPU the mean.
  double round_ms();

 private:
  double time_on_gpu(int repeats);

  std::function<void()> work_;
  Device device_;
  std::shared_ptr<cuda::Graph> graph_;
  int recorded_ = 0;        // runs in the graph
  bool graphless_ = false;  // a graph cannot hold the work
};

}  // namespace tandem
