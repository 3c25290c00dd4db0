// bench: measures operators and training steps, and compares them with the peak of the machine.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>

#include "tandem/core/atomic_file.h"
#include "tandem/core/caching_allocator.h"
#include "tandem/core/check.h"
#include "tandem/tools/run/cli.h"
#include "tools/bench/baseline.h"
#include "tools/bench/contender.h"
#include "tools/bench/exchange.h"
#include "tools/bench/json.h"
#include "tools/bench/length.h"
#include "tools/bench/manual.h"
#include "tools/bench/neighbours.h"
#include "tools/bench/report.h"
#include "tools/bench/step.h"
#include "tools/bench/tuning.h"
#include "tools/bench/versus.h"

namespace tandem {
namespace {

struct Options {
  std::vector<std::string> targets;
  std::string preset = "laptop";
  std::string precision;  // empty: f32, and bf16 if the device has it
  std::string device = "auto";
  BenchSizes sizes;  // those that are not 0 replace the preset's
  int64_t steps = 20;
  int rounds = 9, passes = 1;
  std::string json;      // a path; "-": on stdout, in place of the text
  std::string baseline;  // path of an earlier record
  double tolerance = 0.1;
  bool recompute = false;
  int64_t neighbours = 0;
  std::vector<double> waves = {1};
  std::vector<std::string> scores = {"f32"};
};

// Returns the targets with `all` expanded. UsageError: one is not known.
std::vector<std::string> expand(const std::vector<std::string>& targets) {
  const std::vector<std::string>& known = bench_operator_names();
  std::vector<std::string> expanded;
  for (const std::string& target : targets) {
    const bool found = target == "all" || target == "peak" || target == "step" ||
                       std::find(known.begin(), known.end(), target) != known.end();
    if (!found)
      throw UsageError(fmt::format("{} is not known; there are peak, step, all, and the operators {}", target,
                                   fmt::join(known, ", ")));
    if (target == "all")
      expanded.insert(expanded.end(), known.begin(), known.end());
    else
      expanded.push_back(target);
  }
  return expanded;
}

// A run: its settings, and where it writes what it measures, as text and as JSON.
struct Run {
  BenchSettings settings;
  std::ostream& text;
  nlohmann::ordered_json record;
  Peaks peaks;
};

void run_operator(const std::string& op, Run& run) {
  bool any = false;
  for (const MatmulPrecision precision : run.settings.precisions)
    for (const BenchCase& c : bench_cases(op, run.settings.sizes, precision)) {
      const BenchResult result = run_case(c, run.settings.rounds);
      run.text << result_text(c, result, run.peaks) << std::endl;
      run.record["operators"].push_back(case_json(c, result, run.peaks));
      any = true;
    }
  if (!any)
    run.text << fmt::format("{}: has no products, so nothing in {}; it runs in f32", op,
                            name_of(run.settings.precisions[0]))
             << std::endl;
}

void run_step(Run& run) {
  std::vector<StepResult> results;
  const Neighbours neighbours(run.settings.neighbours);
  if (run.settings.neighbours > 0)
    run.text << fmt::format("beside {} busy processes:\n", run.settings.neighbours);
  for (const MatmulPrecision precision : run.settings.precisions) {
    results.push_back(
        bench_step(run.settings.sizes, precision, run.settings.steps, run.peaks, run.settings.recompute));
    run.text << step_text(results.back(), run.peaks) << std::endl;
    run.record["steps"].push_back(step_json(results.back()));
    if (const std::string tuning = tuning_text(attention_tuning()); !tuning.empty())
      run.record["steps"].back()["attention"] = tuning;
  }
  for (size_t i = 1; i < results.size(); ++i)
    run.text << fmt::format("{} against f32: {:.2f} times the speed", name_of(results[i].precision),
                            results[0].step_ms.median / results[i].step_ms.median)
             << std::endl;
  if (allocator_mode_from_environment() == AllocatorMode::direct)
    return;  // there the system is asked for every tensor
  for (const StepResult& result : results)
    TANDEM_CHECK(result.system_allocations == 0,
                 "step {}: {} allocations from the system after the warm-up; there must be none",
                 name_of(result.precision), result.system_allocations);
}

void run_peak(Run& run) {
  const PeakTable table = measure_peak_table(run.settings.rounds);
  run.text << peak_text(table) << std::flush;
  run.record["peak_table"] = peak_table_json(table);
  if (run.record["peaks"].empty()) run.record["peaks"] = peaks_json(table.peaks());
}

void run_targets(Run& run) {
  bool header = false;
  for (const std::string& target : run.settings.targets) {
    if (target == "peak") {
      run_peak(run);
    } else if (target == "step") {
      run_step(run);
    } else {
      if (!header) run.text << result_header() << std::endl;
      header = true;
      run_operator(target, run);
    }
  }
}

// Says which operators `bench all` could not run.
void report_operators_without_bench(Run& run) {
  const std::vector<std::string> names = operators_without_bench();
  if (!names.empty()) run.text << fmt::format("without a benchmark: {}", fmt::join(names, ", ")) << std::endl;
}

void measure(Run& run) {
  if (run.settings.targets != std::vector<std::string>{"peak"}) {
    run.peaks = measure_peaks(run.settings.rounds);
    run.record["peaks"] = peaks_json(run.peaks);
    run.text << "measured peaks of products:";
    for (const MatmulPrecision precision :
         {MatmulPrecision::f32, MatmulPrecision::tf32, MatmulPrecision::bf16})
      if (bench_has(precision))
        run.text << fmt::format("{} {} {}", precision == MatmulPrecision::f32 ? "" : ",", name_of(precision),
                                flops_text(run.peaks.gflops(precision)));
    run.text << std::endl;
  }
  for (int pass = 1; pass <= run.settings.passes; ++pass) {
    if (run.settings.passes > 1) run.text << fmt::format("pass {} of {}", pass, run.settings.passes) << '\n';
    for (const AttentionTuning& tuning : run.settings.tunings) {
      const AttentionScope scope(tuning);
      if (const std::string text = tuning_text(tuning); !text.empty())
        run.text << fmt::format("attention: {}", text) << '\n';
      run_targets(run);
    }
  }
}

// Returns the settings of a run. What the command line leaves open is as in the earlier run, if there is one.
BenchSettings settings_for(const Flags& flags, Options options, const BenchSettings* earlier) {
  BenchSettings settings;
  if (earlier) {
    if (options.targets.empty()) options.targets = earlier->targets;
    if (!flags.given("--preset")) options.preset = earlier->sizes.preset;
    if (!flags.given("--rounds")) options.rounds = earlier->rounds;
    if (!flags.given("--steps")) options.steps = earlier->steps;
    if (!flags.given("--passes")) options.passes = earlier->passes;
    if (!flags.given("--neighbours")) options.neighbours = earlier->neighbours;
    for (int64_t BenchSizes::*const size :
         {&BenchSizes::unroll, &BenchSizes::batch_size, &BenchSizes::d, &BenchSizes::d_projected,
          &BenchSizes::heads, &BenchSizes::vocabulary, &BenchSizes::words, &BenchSizes::shards})
      if (options.sizes.*size == 0) options.sizes.*size = earlier->sizes.*size;
  }
  if (options.targets.empty()) throw UsageError("what is required: operators, all, peak or step");
  settings.targets = expand(options.targets);
  settings.precisions =
      earlier && options.precision.empty() ? earlier->precisions : bench_precisions(options.precision);
  settings.sizes = bench_sizes(options.preset, options.sizes);
  settings.rounds = options.rounds;
  settings.steps = options.steps;
  settings.passes = options.passes;
  settings.recompute = options.recompute || (earlier && earlier->recompute);
  settings.neighbours = options.neighbours;
  settings.tunings = tunings_of(options.waves, options.scores);
  if (bench_device().is_cpu() && (flags.given("--waves") || flags.given("--scores")))
    throw UsageError("--waves and --scores say how attention computes on a GPU; this is the CPU");
  return settings;
}

void compare_with_baseline(Run& run, const nlohmann::ordered_json& earlier, const Options& options) {
  const Comparison comparison = compare_records(earlier, run.record, options.tolerance);
  run.text << fmt::format("against {}, {}; peaks of products (not judged), GFLOP/s: {}\n{}", options.baseline,
                          earlier.value("time", "undated"), peaks_then_and_now(earlier, run.record),
                          comparison_text(comparison))
           << std::flush;
  run.record["against"] = comparison_json(comparison);
  run.record["against"]["file"] = options.baseline;
}

void run(const Flags& flags, const Options& options) {
  std::optional<nlohmann::ordered_json> earlier;
  std::optional<BenchSettings> settings;
  std::string device = options.device;
  if (!options.baseline.empty()) {
    earlier = read_record(options.baseline);
    settings = settings_of(*earlier);
    if (device == "auto" && earlier->at("device").get<std::string>().starts_with("cpu,")) device = "cpu";
  }
  const bool json_alone = options.json == "-";
  std::optional<AtomicFile> file;  // opened first, so that an error does not come after the measurements
  if (!options.json.empty() && !json_alone) file.emplace(options.json);

  const BenchDeviceScope on(resolve_device(device));
  std::ostream text(json_alone ? nullptr : std::cout.rdbuf());
  Run run{settings_for(flags, options, settings ? &*settings : nullptr), text, {}, {}};
  run.record = record_json(run.settings);
  if (earlier) check_comparable(*earlier, run.record);
  run.text << device_line(bench_device()) << '\n' << run.settings.sizes.text() << std::endl;
  measure(run);
  if (std::find(options.targets.begin(), options.targets.end(), "all") != options.targets.end())
    report_operators_without_bench(run);
  if (earlier) compare_with_baseline(run, *earlier, options);
  if (json_alone) std::cout << run.record.dump(2) << std::endl;
  if (file) {
    file->write(run.record.dump(2) + "\n");
    file->commit();
  }
  if (!earlier) return;
  const int64_t worse = run.record["against"]["worse"];
  TANDEM_CHECK(worse == 0, "{} of {} quantities are worse than in {} by more than {:.4g} %", worse,
               run.record["against"]["compared"].get<int64_t>(), options.baseline, 100 * options.tolerance);
}

// Subcommands with flags of their own.
struct Subcommand {
  const char* name;
  int (*main)(int argc, char** argv);
};
constexpr Subcommand kSubcommands[] = {
    {"vs-pytorch", versus_main}, {"compare", versus_main},  // its former name
    {"length", length_main},     {"exchange", exchange_main}, {"contender", contender_main},
};

int bench_main(int argc, char** argv) {
  Flags flags("bench", "Checks and times operators and training steps, and measures the peaks of the device.",
              kBenchManual);
  Options options;
  flags.add(
      "what", options.targets,
      "Operators by name, all of them (all), the peaks of the device (peak) or a training step (step) [with "
      "--baseline: what its record has].");
  flags.add("--preset", options.preset, "Preset of SRU++ that sizes come from.").show_default();
  flags
      .add(
          "--precision", options.precision,
          "Precision of matrix products and, on a GPU, of activations: f32, tf32 (on GPUs), bf16, both (f32 and bf16), or "
          "all that the device has [f32, and bf16 if the device has it].")
      .one_of({"f32", "tf32", "bf16", "both", "all"});
  add_device_flag(flags, options.device);
  flags.add("--rounds", options.rounds, "Number of timings of an operator; the median counts.")
      .positive()
      .show_default();
  flags.add("--steps", options.steps, "Number of timed training steps.").positive().show_default();
  flags.add_switch("--recompute", options.recompute,
                   "In step, keep only each layer's input and run the layer again in the backward pass.");
  add_neighbours_flag(flags, options.neighbours);
  flags
      .add(
          "--waves", options.waves,
          "Scores in a block of attention on a GPU, in multiples of those that fill it once; with a list, as 1,2,4, "
          "everything is run with each.")
      .comma_separated()
      .positive()
      .show_default();
  flags
      .add(
          "--scores", options.scores,
          "Type of attention's scores in a GPU's memory, where activations are bf16: f32, bf16, or both in a list.")
      .comma_separated()
      .one_of({"f32", "bf16"})
      .show_default();
  flags
      .add(
          "--passes", options.passes,
          "Number of repetitions of everything, one after another. More of them include the noise that comes and goes "
          "over seconds.")
      .positive()
      .show_default();
  add_size_flags(flags, options.sizes);
  flags.add("--shards", options.sizes.shards, "In step, groups of rows that are computed apart [1].")
      .positive();
  flags
      .add("--words", options.sizes.words,
           "Vocabulary of adaptive_softmax and adaptive_embedding [267735, as in WikiText-103].")
      .range(100, int64_t{1} << 24);
  flags.add_switch("--json{-}", options.json,
                   "Print one JSON object instead; --json=FILE writes it to a file, beside the text.");
  const Flag baseline = flags.add(
      "--baseline,--against", options.baseline,
      "Compare with what --json=FILE wrote earlier, and report what changed. Exit code 1 if something got worse.");
  flags.add("--tolerance", options.tolerance, "Share by which a quantity may differ from the baseline.")
      .non_negative()
      .needs(baseline)
      .show_default();
  return run_main(flags, argc, argv, [&flags, &options] { run(flags, options); });
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  const std::string first = argc > 1 ? argv[1] : "";
  for (const Subcommand& subcommand : kSubcommands)
    if (first == subcommand.name) return subcommand.main(argc - 1, argv + 1);
  return bench_main(argc, argv);
}
