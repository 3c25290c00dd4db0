// Timing the trainer.
#include "tools/support/bench_step.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "core/check.h"
#include "core/host_memory.h"
#include "core/random.h"
#include "tools/support/bench_replay.h"
#include "tools/support/trainer.h"

namespace tandem {
namespace {

constexpr int64_t kWarmUp = 3;  // shapes are those of every later step from the second on

RunConfig run_config(const BenchSizes& sizes, MatmulPrecision precision) {
  RunConfig config;
  config.preset = sizes.preset;
  config.model_config = sizes.model_config;
  config.recipe = preset(sizes.preset).recipe;
  config.recipe.batch_size = sizes.batch_size;
  config.recipe.unroll = sizes.unroll;
  config.precision = name_of(precision);
  return config;
}

// Enough for `segments` within one epoch; every value below `vocabulary` occurs.
std::vector<uint8_t> random_text(const Recipe& recipe, int64_t segments, int64_t vocabulary) {
  CHECK(vocabulary >= 2 && vocabulary <= 256, "benchmark: a vocabulary of {} bytes; give 2 to 256",
        vocabulary);
  const int64_t size = std::max(vocabulary, recipe.batch_size * recipe.unroll * segments + 1);
  std::vector<uint8_t> text;
  Random random(11);
  for (int64_t i = 0; i < size; ++i)
    text.push_back(static_cast<uint8_t>(i < vocabulary ? static_cast<uint64_t>(i)
                                                       : random.below(static_cast<uint64_t>(vocabulary))));
  return text;
}

size_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  size_t total = 0, resident = 0;
  statm >> total >> resident;
  return resident * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// Profiles of several steps, brought to medians by operator.
class Profiles {
 public:
  // Returns the sum of all operators, in milliseconds. `segments` of a step are alike.
  double add(const std::vector<OperatorTime>& profile, int64_t segments) {
    double sum = 0;
    for (const OperatorTime& time : profile) {
      Times& times = times_[time.name];
      const double factor = static_cast<double>(segments);
      times.calls = time.calls * segments;
      times.forward.push_back(time.forward_ms * factor);
      times.backward.push_back(time.backward_ms * factor);
      sum += times.forward.back() + times.backward.back();
    }
    return sum;
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
    std::vector<double> forward, backward;
  };
  std::map<std::string, Times> times_;
};

// The last step of the warm-up: its products, and memory at its height.
std::vector<GemmCall> measure_memory_and_products(Trainer& trainer, StepResult& result) {
  host_allocator().reset_peak();
  std::vector<GemmCall> calls;
  {
    const GemmLog log;
    trainer.step();
    calls = log.calls();
  }
  const MemoryStatistics memory = host_allocator().statistics();
  result.peak_bytes = memory.peak_in_use;
  result.reserved_bytes = memory.reserved;
  result.resident_bytes = resident_bytes();
  result.flops = flops_of(calls);
  return calls;
}

}  // namespace

StepResult bench_step(const BenchSizes& sizes, MatmulPrecision precision, int64_t steps, const Peaks& peaks) {
  CHECK(steps >= 1, "benchmark: {} steps; at least 1", steps);
  host_allocator().release_cached();
  const RunConfig config = run_config(sizes, precision);
  const int64_t segments = (2 * kWarmUp + 1 + steps) * config.recipe.accumulate;
  const std::vector<uint8_t> text = random_text(config.recipe, segments, sizes.vocabulary);
  Trainer trainer(config, text, Vocabulary::of(text));
  trainer.profile(true);

  StepResult result;
  result.precision = precision;
  result.steps = steps;
  for (int64_t i = 0; i < kWarmUp; ++i) result.tokens_per_step = trainer.step().tokens;
  const std::vector<GemmCall> calls = measure_memory_and_products(trainer, result);
  result.peak_floor_ms = static_cast<double>(result.flops.f32) / peaks.f32_gflops / 1e6;
  if (result.flops.bf16 > 0)
    result.peak_floor_ms += static_cast<double>(result.flops.bf16) / peaks.bf16_gflops / 1e6;

  const GemmReplay replay(calls);
  std::vector<BenchCase> optimizer;
  add_optimizer_cases(optimizer, sizes, MatmulPrecision::f32);
  // These took some of the memory that the trainer had used in turn, so all find their places again.
  for (int64_t i = 0; i < kWarmUp; ++i) {
    trainer.step();
    replay.run_ms();
    optimizer[0].run();
  }

  Profiles profiles;
  std::vector<double> step_ms, replay_ms, optimizer_ms, rest_ms;
  for (int64_t i = 0; i < steps; ++i) {
    const int64_t before = host_allocator().statistics().source_calls;
    step_ms.push_back(time_ms([&trainer] { trainer.step(); }));
    result.system_allocations += host_allocator().statistics().source_calls - before;
    replay_ms.push_back(replay.run_ms());
    optimizer_ms.push_back(optimizer[0].run().forward_ms);
    const double operators_ms = profiles.add(trainer.last_profile(), config.recipe.accumulate);
    rest_ms.push_back(step_ms.back() - operators_ms - optimizer_ms.back());
  }
  result.step_ms = spread_of(step_ms);
  result.replay_ms = spread_of(replay_ms);
  result.optimizer_ms = spread_of(optimizer_ms).median;
  result.rest_ms = spread_of(rest_ms).median;
  result.operators = profiles.medians();
  return result;
}

}  // namespace tandem
