// Steps of one model at every length, in rounds.
#include "tools/bench/length.h"

#include <algorithm>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>

#include "tandem/core/array.h"
#include "tandem/core/atomic_file.h"
#include "tandem/core/caching_allocator.h"
#include "tandem/core/check.h"
#include "tandem/models/registry.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/device.h"
#include "tools/bench/json.h"
#include "tools/bench/manual.h"
#include "tools/bench/peak.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;

constexpr const char* kAttention = "causal_attention";
constexpr double kRoundMs = 100;  // steps are repeated until they take this long together
constexpr double kGrown = 1.1;    // smaller growth is noise

// Steps at one point. Each begins with the state that the last one left.
class Steps {
 public:
  Steps(const LanguageModel& model, const BenchSizes& sizes, LengthPoint point)
      : model_(model),
        point_(point),
        inputs_(bench_ids({point.unroll, sizes.batch_size}, sizes.vocabulary, 1)),
        targets_(bench_ids({point.unroll, sizes.batch_size}, sizes.vocabulary, 2)) {
    ForwardOptions forward;
    forward.context.memory = point.memory;
    for (int64_t rows = 0; rows < point.memory; rows += point.unroll)
      model_.token_losses(inputs_, targets_, state_, forward);
    run();  // allocates the gradients of the parameters, and the state of all later steps
    const size_t before = bench_allocator().statistics().in_use;
    bench_allocator().reset_peak();
    run();
    peak_bytes_ = bench_allocator().statistics().peak_in_use - before;
  }

  // Runs a round and adds its mean step, in total and by operator.
  void time() {
    std::map<std::string, OperatorTime> sums;
    double total = 0;
    int steps = 0;
    for (; total < kRoundMs; ++steps)
      total += time_ms([&] {
        for (const OperatorTime& time : run()) {
          OperatorTime& sum = sums[time.name];
          sum.calls = time.calls;
          sum.forward_ms += time.forward_ms;
          sum.backward_ms += time.backward_ms;
        }
      });
    ms_.push_back(total / steps);
    for (const auto& [name, sum] : sums) {
      Times& times = times_[name];
      times.calls = sum.calls;
      times.forward.push_back(sum.forward_ms / steps);
      times.backward.push_back(sum.backward_ms / steps);
    }
  }

  LengthCost cost(int64_t batch_size) const {
    LengthCost cost;
    const auto t = static_cast<double>(point_.unroll), m = static_cast<double>(point_.memory),
               b = static_cast<double>(batch_size);
    cost.point = point_;
    cost.pairs = b * (t * m + t * (t + 1) / 2);
    cost.rows = b * (t + m);
    cost.ms = spread_of(ms_);
    cost.peak_bytes = peak_bytes_;
    for (const auto& [name, times] : times_)
      cost.operators.push_back(
          {name, times.calls, spread_of(times.forward).median, spread_of(times.backward).median});
    std::sort(cost.operators.begin(), cost.operators.end(), [](const auto& a, const auto& b) {
      return a.forward_ms + a.backward_ms > b.forward_ms + b.backward_ms;
    });
    for (const OperatorTime& time : cost.operators)
      if (time.name == kAttention) cost.attention_ms = time.forward_ms + time.backward_ms;
    return cost;
  }

 private:
  struct Times {
    int64_t calls = 0;
    std::vector<double> forward, backward;
  };

  std::vector<OperatorTime> run() {
    ForwardOptions pass;
    pass.training = true;
    pass.context.memory = point_.memory;
    Tape tape({.profile = true});
    tape.backward(model_.loss(inputs_, targets_, state_, pass));
    return tape.times();
  }

  const LanguageModel& model_;
  LengthPoint point_;
  Tensor inputs_, targets_;
  State state_;
  size_t peak_bytes_ = 0;
  std::vector<double> ms_;
  std::map<std::string, Times> times_;
};

struct Options {
  std::string preset = "laptop", precision, device = "auto", json;
  BenchSizes sizes;
  int64_t shortest = 128, longest = 8192, unroll = 512;
  int rounds = 3;
};

// A series of points: both lengths grow together, or the memory alone grows.
struct Sweep {
  const char* name;
  std::vector<LengthPoint> points;
};

std::vector<Sweep> sweeps_of(const Options& options) {
  Sweep both{"T = M", {}}, memory{"M alone", {}};
  for (int64_t length = options.shortest; length <= options.longest; length *= 2) {
    both.points.push_back({length, length});
    memory.points.push_back({options.unroll, length});
  }
  return {both, memory};
}

template <class Value>
std::vector<double> column(const std::vector<LengthCost>& costs, const Value& value) {
  std::vector<double> values;
  for (const LengthCost& cost : costs) values.push_back(value(cost));
  return values;
}

// Returns the time of an operator, forward and backward, over its work.
double unit_ms(const LengthCost& cost, const std::string& name) {
  for (const OperatorTime& time : cost.operators)
    if (time.name == name)
      return (time.forward_ms + time.backward_ms) / (name == kAttention ? cost.pairs : cost.rows);
  return 0;
}

// Returns the growth of the time per unit of work, for each operator that takes 1 % or more of the longest
// step.
std::vector<std::pair<std::string, double>> operator_growth(const std::vector<LengthCost>& costs) {
  std::vector<std::pair<std::string, double>> all;
  for (const OperatorTime& time : costs.back().operators)
    if (time.forward_ms + time.backward_ms >= 0.01 * costs.back().ms.median)
      all.emplace_back(
          time.name,
          growth(column(costs, [&time](const LengthCost& cost) { return unit_ms(cost, time.name); })));
  return all;
}

ordered_json cost_json(const LengthCost& c) {
  ordered_json operators = ordered_json::array();
  for (const OperatorTime& time : c.operators) operators.push_back(operator_json(time));
  return {{"unroll", c.point.unroll},
          {"memory", c.point.memory},
          {"ms", spread_json(c.ms)},
          {"attention_ms", c.attention_ms},
          {"rest_ms", c.rest_ms()},
          {"peak_bytes", c.peak_bytes},
          {"attention_ns_per_pair", c.attention_ns()},
          {"rest_us_per_row", c.rest_us()},
          {"bytes_per_row", c.bytes()},
          {"operators", operators}};
}

ordered_json report(const Sweep& sweep, const char* precision, const std::vector<LengthCost>& costs) {
  fmt::print("\n{}, {}\n{:>6} {:>6}  {:<32} {:>12} {:>10} {:>8}   {:>10} {:>10} {:>10}\n", sweep.name,
             precision, "T", "M", "step ms", "attention ms", "rest ms", "MiB", "ns a pair", "us a row",
             "KiB a row");
  for (const LengthCost& c : costs)
    fmt::print("{:>6} {:>6}  {:<32} {:>12.2f} {:>10.2f} {:>8.1f}   {:>10.2f} {:>10.3f} {:>10.3f}\n",
               c.point.unroll, c.point.memory, spread_text(c.ms), c.attention_ms, c.rest_ms(),
               static_cast<double>(c.peak_bytes) / (1 << 20), c.attention_ns(), c.rest_us(),
               c.bytes() / 1024);
  ordered_json growths, rows = ordered_json::array(), operators = ordered_json::object();
  growths["attention"] = growth(column(costs, [](const LengthCost& c) { return c.attention_ns(); }));
  growths["rest"] = growth(column(costs, [](const LengthCost& c) { return c.rest_us(); }));
  growths["memory"] = growth(column(costs, [](const LengthCost& c) { return c.bytes(); }));
  fmt::print("most over a shorter length: attention {:.2f}, rest {:.2f}, memory {:.2f}\n",
             growths["attention"].get<double>(), growths["rest"].get<double>(),
             growths["memory"].get<double>());
  for (const auto& [name, factor] : operator_growth(costs)) {
    operators[name] = factor;
    if (factor > kGrown)
      fmt::print("  {} grows: {:.2f} times the time a {}\n", name, factor,
                 name == kAttention ? "pair" : "row");
  }
  std::fflush(stdout);
  for (const LengthCost& cost : costs) rows.push_back(cost_json(cost));
  return {{"sweep", sweep.name},
          {"precision", precision},
          {"growth", growths},
          {"operator_growth", operators},
          {"rows", rows}};
}

void run(Options options) {
  if (options.longest < 2 * options.shortest)
    throw UsageError(fmt::format("--max={}: at least twice --min={}, or nothing can grow", options.longest,
                                 options.shortest));
  const BenchDeviceScope on(resolve_device(options.device));
  if (options.sizes.batch_size == 0) options.sizes.batch_size = 1;
  const BenchSizes sizes = bench_sizes(options.preset, options.sizes);
  const std::vector<MatmulPrecision> precisions = bench_precisions(options.precision);
  const ordered_json model = ordered_json::parse(sizes.model_config);
  fmt::print("{}\npreset {}: B {}, d {}, d' {}, {} layers; forward and backward, medians of {} rounds\n",
             device_line(bench_device()), sizes.preset, sizes.batch_size, sizes.d, sizes.d_projected,
             model.at("layers").get<int64_t>(), options.rounds);
  std::fflush(stdout);
  ordered_json sweeps = ordered_json::array();
  for (const MatmulPrecision precision : precisions)
    for (const Sweep& sweep : sweeps_of(options))
      sweeps.push_back(
          report(sweep, name_of(precision), measure_lengths(sizes, precision, sweep.points, options.rounds)));
  if (options.json.empty()) return;
  const ordered_json record = {{"device", device_name(bench_device())},
                               {"preset", sizes.preset},
                               {"batch_size", sizes.batch_size},
                               {"model", model},
                               {"rounds", options.rounds},
                               {"sweeps", sweeps}};
  write_file_atomically(options.json, record.dump(2) + "\n");
}

}  // namespace

std::vector<LengthCost> measure_lengths(const BenchSizes& sizes, MatmulPrecision precision,
                                        const std::vector<LengthPoint>& points, int rounds) {
  TANDEM_CHECK(rounds >= 1, "benchmark: {} rounds; at least 1", rounds);
  const PrecisionScope scope(precision, bench_device());
  const std::unique_ptr<LanguageModel> model = make_model(sizes.model_config, 1, bench_device());
  std::vector<Steps> steps;
  steps.reserve(points.size());
  for (const LengthPoint& point : points) steps.emplace_back(*model, sizes, point);
  for (int round = 0; round < rounds; ++round)
    for (Steps& at : steps) at.time();
  std::vector<LengthCost> costs;
  for (const Steps& at : steps) costs.push_back(at.cost(sizes.batch_size));
  return costs;
}

double growth(const std::vector<double>& column) {
  TANDEM_CHECK(column.size() >= 2, "benchmark: {} lengths; growth needs two", column.size());
  double least = column[0], most = 0;
  for (size_t i = 1; i < column.size(); ++i) {
    most = std::max(most, column[i] / least);
    least = std::min(least, column[i]);
  }
  return most;
}

int length_main(int argc, char** argv) {
  Flags flags("bench length", "Measures what a training step of SRU++ costs as segment and memory grow.",
              kLengthManual);
  Options options;
  flags.add("--preset", options.preset, "Preset of SRU++ that sizes come from.").show_default();
  flags.add("--precision", options.precision, "f32 or bf16 [both, if the device has them].")
      .one_of({"f32", "bf16"});
  add_device_flag(flags, options.device);
  flags.add("--min", options.shortest, "The shortest length.").positive().show_default();
  flags.add("--max", options.longest, "The longest length.").positive().show_default();
  flags.add("--unroll", options.unroll, "Length of the segment where the memory alone grows.")
      .positive()
      .show_default();
  flags.add("--rounds", options.rounds, "Number of rounds; the median counts.").positive().show_default();
  flags.add("--batch-size", options.sizes.batch_size, "Number of rows, B [1].").positive();
  add_width_flags(flags, options.sizes);
  flags.add("--json", options.json, "Write every row to this file, which tools/bench/plot_length draws.");
  return run_main(flags, argc, argv, [&options] { run(options); });
}

}  // namespace tandem
