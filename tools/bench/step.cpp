// Timed steps of the trainer.
#include "tools/bench/step.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <optional>

#include "tandem/core/backend.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/host_memory.h"
#include "tandem/core/random.h"
#include "tandem/cuda/runtime/profiler.h"
#include "tandem/models/training/trainer.h"
#include "tandem/ops/gemm/log.h"
#include "tools/bench/replay.h"
#include "tools/bench/updates.h"

namespace tandem {
namespace {

constexpr int64_t kWarmUp =
    3;  // from the second step on, there is a memory and all shapes are as in later steps
constexpr int64_t kEnqueued = 4;  // steps that are enqueued on a GPU before the host waits

int64_t segments_per_step(const Trainer& trainer) {
  return trainer.config().recipe.accumulate * trainer.config().recipe.shards;
}

size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

std::vector<double> ratios(std::vector<double> ms, const std::vector<double>& floor_ms) {
  TANDEM_CHECK(ms.size() == floor_ms.size(), "benchmark: {} timings beside {} of the floor", ms.size(),
               floor_ms.size());
  for (size_t i = 0; i < ms.size(); ++i) ms[i] /= floor_ms[i];
  return ms;
}

// Collects profiles of several steps and computes the medians of each operator.
class Profiles {
 public:
  // Adds a profile of one of the `segments` of a step, which are alike. Returns the milliseconds of all
  // operators in the step.
  double add(const std::vector<OperatorTime>& profile, int64_t segments) {
    double sum = 0;
    for (const OperatorTime& time : profile) {
      Times& times = times_[time.name];
      const double factor = static_cast<double>(segments);
      times.calls = time.calls * segments;
      times.forward.push_back(time.forward_ms * factor);
      times.backward.push_back(time.backward_ms * factor);
      times.both.push_back(times.forward.back() + times.backward.back());
      sum += times.both.back();
    }
    return sum;
  }

  // Appends each operator in units of the floors, one for each profile.
  void add_parts(std::vector<StepPart>& parts, const std::vector<double>& floor_ms) const {
    for (const auto& [name, times] : times_) parts.push_back({name, spread_of(ratios(times.both, floor_ms))});
  }

  std::vector<OperatorTime> medians() const {
    std::vector<OperatorTime> all;
    for (const auto& [name, times] : times_)
      all.push_back({name, times.calls, spread_of(times.forward).median, spread_of(times.backward).median});
    std::sort(all.begin(), all.end(), [](const OperatorTime& a, const OperatorTime& b) {
      return a.forward_ms + a.backward_ms > b.forward_ms + b.backward_ms;
    });
    return all;
  }

 private:
  struct Times {
    int64_t calls = 0;
    std::vector<double> forward, backward, both;
  };
  std::map<std::string, Times> times_;
};

int64_t allocations_from_system() {
  int64_t calls = host_allocator().statistics().source_calls;
  if constexpr (kWithCuda)
    if (bench_device().is_cuda()) calls += cuda::allocator().statistics().source_calls;
  return calls;
}

void wait_for_device() {
  if constexpr (kWithCuda)
    if (bench_device().is_cuda()) cuda::synchronize();
}

// Runs a step that profilers of the device record, and no other.
void step_for_profilers(Trainer& trainer) {
  if constexpr (kWithCuda) {
    if (bench_device().is_cuda()) {
      const cuda::ProfiledRange range;
      trainer.step();
      return;
    }
  }
  trainer.step();
}

// Runs the last step of the warm-up; records its peak memory and returns its products.
std::vector<GemmCall> measure_memory_and_products(Trainer& trainer, StepResult& result) {
  bench_allocator().reset_peak();
  std::vector<GemmCall> calls;
  {
    const GemmLog log;
    step_for_profilers(trainer);
    calls = log.calls();
    if (bench_device().is_cuda()) result.products = log.sequence();
  }
  const MemoryStatistics memory = bench_allocator().statistics();
  result.peak_bytes = memory.peak_in_use;
  result.reserved_bytes = memory.reserved;
  result.resident_bytes = resident_bytes();
  result.flops = flops_of(calls);
  return calls;
}

// Returns the optimizer alone, over copies of the trainer's parameters.
Updates updates_of(const Trainer& trainer, MatmulPrecision precision) {
  return {trainer.model().parameters(), trainer.config().recipe.optimizer, DType::f32, precision, 1e-4};
}

// Computes the time of a step's products at the rate of a product that is timed now.
class StepFloor {
 public:
  explicit StepFloor(const GemmFlops& flops) : flops_(flops) {
    if (flops.f32 > 0) f32_.emplace(MatmulPrecision::f32);
    if (flops.bf16 > 0) bf16_.emplace(MatmulPrecision::bf16);
  }
  double run_ms() {
    double ms = 0;
    if (f32_) ms += f32_->floor_ms(static_cast<double>(flops_.f32));
    if (bf16_) ms += bf16_->floor_ms(static_cast<double>(flops_.bf16));
    return ms;
  }

 private:
  GemmFlops flops_;
  std::optional<ProductBench> f32_, bf16_;
};

void time_on_cpu(Trainer& trainer, const std::vector<GemmCall>& calls, StepResult& result) {
  const GemmReplay replay(calls);
  Updates updates = updates_of(trainer, result.precision);
  StepFloor floor(result.flops);
  // The operands above took memory that the trainer had used, so warm up again: the timed steps must not
  // allocate.
  for (int64_t i = 0; i < kWarmUp; ++i) {
    trainer.step();
    replay.run_ms();
    updates.step();
    floor.run_ms();
  }
  Profiles profiles;
  std::vector<double> step_ms, replay_ms, optimizer_ms, rest_ms, floor_ms;
  for (int64_t i = 0; i < result.steps; ++i) {
    const int64_t before = allocations_from_system();
    step_ms.push_back(time_ms([&trainer] { trainer.step(); }));
    result.system_allocations += allocations_from_system() - before;
    replay_ms.push_back(replay.run_ms());
    optimizer_ms.push_back(updates.step_ms(1));
    floor_ms.push_back(floor.run_ms());
    const double operators_ms = profiles.add(trainer.last_profile(), segments_per_step(trainer));
    rest_ms.push_back(step_ms.back() - operators_ms - optimizer_ms.back());
  }
  result.step_ms = spread_of(step_ms);
  result.split_ms = result.step_ms.median;
  result.replay_ms = spread_of(replay_ms);
  result.optimizer_ms = spread_of(optimizer_ms).median;
  result.rest_ms = spread_of(rest_ms).median;
  result.operators = profiles.medians();
  result.parts = {{"step", spread_of(ratios(step_ms, floor_ms))},
                  {"replay", spread_of(ratios(replay_ms, floor_ms))},
                  {"optimizer", spread_of(ratios(optimizer_ms, floor_ms))}};
  profiles.add_parts(result.parts, floor_ms);
}

// Returns the milliseconds of a step, each the mean of a few that were enqueued without waiting in between.
Spread time_enqueued(Trainer& trainer, StepResult& result) {
  std::vector<double> ms;
  for (int64_t left = result.steps; left > 0;) {
    const int64_t steps = std::min(left, kEnqueued);
    const int64_t before = allocations_from_system();
    const double all_ms = time_ms([&trainer, steps] {
      for (int64_t i = 0; i < steps; ++i) trainer.advance();
      wait_for_device();
    });
    result.system_allocations += allocations_from_system() - before;
    ms.push_back(all_ms / static_cast<double>(steps));
    trainer.collect();
    left -= steps;
  }
  return spread_of(ms);
}

void time_on_gpu(Trainer& trainer, StepResult& result) {
  Profiles profiles;
  std::vector<double> split_ms, rest_ms, optimizer_ms;
  for (int64_t i = 0; i < kWarmUp; ++i) {
    split_ms.push_back(time_ms([&trainer] { trainer.step(); }));
    rest_ms.push_back(split_ms.back() - profiles.add(trainer.last_profile(), segments_per_step(trainer)));
  }
  trainer.profile(false);
  trainer.use_graph(false);
  result.eager_ms = time_enqueued(trainer, result);
  trainer.use_graph(true);
  for (int64_t i = 0; i <= kWarmUp; ++i) trainer.step();
  result.graph_refusal = trainer.graph_refusal();
  result.step_ms = trainer.uses_graph() ? time_enqueued(trainer, result) : result.eager_ms;
  result.reserved_bytes = bench_allocator().statistics().reserved;

  Updates updates = updates_of(trainer, result.precision);
  const int repeats = repeats_in_round(updates.step_ms(1));
  for (int64_t i = 0; i < kWarmUp; ++i) optimizer_ms.push_back(updates.step_ms(repeats));
  result.optimizer_ms = spread_of(optimizer_ms).median;
  result.split_ms = spread_of(split_ms).median;
  result.rest_ms = spread_of(rest_ms).median - result.optimizer_ms;
  result.operators = profiles.medians();
  const auto in_floors = [floor = result.peak_floor_ms](const Spread& ms) {
    return Spread{ms.min / floor, ms.median / floor, ms.max / floor};
  };
  result.parts = {{"step", in_floors(result.step_ms)},
                  {"operator by operator", in_floors(result.eager_ms)},
                  {"optimizer", in_floors(spread_of(optimizer_ms))}};
  profiles.add_parts(result.parts, std::vector<double>(kWarmUp, result.peak_floor_ms));
}

}  // namespace

RunConfig step_config(const BenchSizes& sizes, MatmulPrecision precision) {
  RunConfig config;
  config.preset = sizes.preset;
  config.model_config = sizes.model_config;
  config.recipe = preset("srupp", sizes.preset).recipe;
  config.recipe.batch_size = sizes.batch_size;
  config.recipe.unroll = sizes.unroll;
  config.recipe.shards = sizes.shards;
  config.precision = name_of(precision);
  config.check();
  return config;
}

std::vector<uint8_t> random_bytes(const Recipe& recipe, int64_t segments, int64_t vocabulary) {
  TANDEM_CHECK(vocabulary >= 2 && vocabulary <= 256, "benchmark: a vocabulary of {} bytes; give 2 to 256",
               vocabulary);
  const int64_t size = std::max(vocabulary, recipe.batch_size * recipe.unroll * segments + 1);
  std::vector<uint8_t> text;
  Random random(11);
  for (int64_t i = 0; i < size; ++i)
    text.push_back(static_cast<uint8_t>(i < vocabulary ? static_cast<uint64_t>(i)
                                                       : random.below(static_cast<uint64_t>(vocabulary))));
  return text;
}

StepResult bench_step(const BenchSizes& sizes, MatmulPrecision precision, int64_t steps, const Peaks& peaks,
                      bool recompute) {
  TANDEM_CHECK(steps >= 1, "benchmark: {} steps; at least 1", steps);
  host_allocator().release_cached();
  bench_allocator().release_cached();
  RunConfig config = step_config(sizes, precision);
  config.recompute = recompute;
  const int64_t segments = (4 * kWarmUp + 1 + 2 * steps) * config.recipe.accumulate;
  const std::vector<uint8_t> text = random_bytes(config.recipe, segments, sizes.vocabulary);
  const Vocabulary vocabulary = Vocabulary::of(text);
  Trainer trainer(config, {text, vocabulary}, vocabulary, bench_device());
  trainer.profile(true);

  StepResult result;
  result.precision = precision;
  result.steps = steps;
  result.recompute = recompute;
  result.flops_per_token = 3 * trainer.model().forward_flops(config.recipe.unroll, config.recipe.unroll);
  for (int64_t i = 0; i < kWarmUp; ++i) result.tokens_per_step = trainer.step().tokens;
  const std::vector<GemmCall> calls = measure_memory_and_products(trainer, result);
  result.peak_floor_ms = static_cast<double>(result.flops.f32) / peaks.gflops(result.wide()) / 1e6;
  if (result.flops.bf16 > 0)
    result.peak_floor_ms += static_cast<double>(result.flops.bf16) / peaks.bf16_gflops / 1e6;
  result.optimizer = config.recipe.optimizer;
  if (bench_device().is_cpu())
    time_on_cpu(trainer, calls, result);
  else
    time_on_gpu(trainer, result);
  return result;
}

}  // namespace tandem
