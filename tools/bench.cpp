// bench: how fast operators and training steps are, and how far from what the machine can do.
#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <optional>

#include "core/atomic_file.h"
#include "core/caching_allocator.h"
#include "core/check.h"
#include "tools/bench/baseline.h"
#include "tools/bench/contender.h"
#include "tools/bench/json.h"
#include "tools/bench/length.h"
#include "tools/bench/report.h"
#include "tools/bench/step.h"
#include "tools/bench/versus.h"
#include "tools/run/cli.h"

namespace tandem {
namespace {

struct Options {
  std::vector<std::string> targets;
  std::string preset = "laptop";
  std::string precision;  // empty: f32 and bf16, where the device has both
  std::string device = "auto";
  BenchSizes sizes;  // overrides
  int64_t steps = 20;
  int rounds = 9, passes = 1;
  std::string json;     // a path; "-": on stdout, in place of the text
  std::string against;  // path of an earlier record
  double tolerance = 0.1;
  bool recompute = false;
};

// The targets with `all` written out. Error (of usage): one that is not known.
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

// A run: its settings, and where what it measures goes, as text and as JSON.
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
  for (const MatmulPrecision precision : run.settings.precisions) {
    results.push_back(
        bench_step(run.settings.sizes, precision, run.settings.steps, run.peaks, run.settings.recompute));
    run.text << step_text(results.back(), run.peaks) << std::endl;
    run.record["steps"].push_back(step_json(results.back()));
  }
  for (size_t i = 1; i < results.size(); ++i)
    run.text << fmt::format("{} against f32: {:.2f} times the speed", name_of(results[i].precision),
                            results[0].step_ms.median / results[i].step_ms.median)
             << std::endl;
  if (allocator_mode_from_environment() == AllocatorMode::direct) return;  // every allocation is the system's
  for (const StepResult& result : results)
    CHECK(result.system_allocations == 0,
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
    run_targets(run);
  }
}

// The settings of a run. What the command line leaves open is as in an earlier one, if there is one.
BenchSettings settings_for(const CLI::App& app, Options options, const BenchSettings* earlier) {
  BenchSettings settings;
  if (earlier) {
    if (options.targets.empty()) options.targets = earlier->targets;
    if (app.count("--preset") == 0) options.preset = earlier->sizes.preset;
    if (app.count("--rounds") == 0) options.rounds = earlier->rounds;
    if (app.count("--steps") == 0) options.steps = earlier->steps;
    if (app.count("--passes") == 0) options.passes = earlier->passes;
    for (int64_t BenchSizes::*const size :
         {&BenchSizes::unroll, &BenchSizes::batch_size, &BenchSizes::d, &BenchSizes::d_projected,
          &BenchSizes::heads, &BenchSizes::vocabulary, &BenchSizes::words})
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
  return settings;
}

void compare(Run& run, const nlohmann::ordered_json& earlier, const Options& options) {
  const Comparison comparison = compare_records(earlier, run.record, options.tolerance);
  run.text << fmt::format("against {}, {}; peaks of products (not judged), GFLOP/s: {}\n{}", options.against,
                          earlier.value("time", "undated"), peaks_then_and_now(earlier, run.record),
                          comparison_text(comparison))
           << std::flush;
  run.record["against"] = comparison_json(comparison);
  run.record["against"]["file"] = options.against;
}

void run(const CLI::App& app, const Options& options) {
  std::optional<nlohmann::ordered_json> earlier;
  std::optional<BenchSettings> settings;
  std::string device = options.device;
  if (!options.against.empty()) {
    earlier = read_record(options.against);
    settings = settings_of(*earlier);
    if (device == "auto" && earlier->at("device").get<std::string>().starts_with("cpu,")) device = "cpu";
  }
  const bool json_alone = options.json == "-";
  std::optional<AtomicFile> file;  // that it can be written is known before anything is measured
  if (!options.json.empty() && !json_alone) file.emplace(options.json);

  const BenchDeviceScope on(resolve_device(device));
  std::ostream text(json_alone ? nullptr : std::cout.rdbuf());
  Run run{settings_for(app, options, settings ? &*settings : nullptr), text, {}, {}};
  run.record = record_json(run.settings);
  if (earlier) check_comparable(*earlier, run.record);
  run.text << device_line(bench_device()) << '\n' << run.settings.sizes.text() << std::endl;
  measure(run);
  if (earlier) compare(run, *earlier, options);
  if (json_alone) std::cout << run.record.dump(2) << std::endl;
  if (file) {
    file->write(run.record.dump(2) + "\n");
    file->commit();
  }
  if (!earlier) return;
  const int64_t worse = run.record["against"]["worse"];
  CHECK(worse == 0, "{} of {} quantities are worse than in {} by more than {:.4g} %", worse,
        run.record["against"]["compared"].get<int64_t>(), options.against, 100 * options.tolerance);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  limit_openmp_spinning(argv);
  const std::string first = argc > 1 ? argv[1] : "";
  if (first == "compare") return compare_main(argc - 1, argv + 1);
  if (first == "length") return length_main(argc - 1, argv + 1);
  if (first == "contender") return contender_main(argc - 1, argv + 1);
  CLI::App app(
      "Benchmarks. OP: checks an operator, then times it forward and backward. peak: what "
      "products and copies reach at most. step: training steps, their split, and the floor "
      "that products set. compare: Tandem and PyTorch in turn (bench compare --help). "
      "length: what steps cost as segments grow (bench length --help).",
      "bench");
  Options options;
  app.add_option("what", options.targets,
                 "operators, or all of them, or peak, or step [with --against, what the record has]");
  app.add_option("--preset", options.preset, "where sizes come from")->capture_default_str();
  app.add_option("--precision", options.precision,
                 "of products, and on a GPU of activations: f32, tf32 (GPUs), bf16, both (f32 and bf16), or "
                 "all that the device has [f32 and bf16, where it has both]")
      ->check(CLI::IsMember({"f32", "tf32", "bf16", "both", "all"}));
  add_device_option(app, options.device);
  app.add_option("--rounds", options.rounds, "timings of an operator; the median counts")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--steps", options.steps, "timed training steps")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--recompute", options.recompute,
               "of step: keep each layer's input only and run the layer again in the backward pass");
  app.add_option("--passes", options.passes,
                 "over everything, one after another: more see the noise that comes and goes over seconds")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  add_size_options(app, options.sizes);
  app.add_option("--words", options.sizes.words,
                 "vocabulary of adaptive_softmax and adaptive_embedding [267735, as in WikiText-103]")
      ->check(CLI::Range(int64_t{100}, int64_t{1} << 24));
  app.add_flag("--json{-}", options.json,
               "print one JSON object instead; --json=FILE writes it to a file beside the text");
  CLI::Option* const against =
      app.add_option("--against", options.against,
                     "an earlier --json=FILE: says what moved since; exit code 1 where something got worse");
  app.add_option("--tolerance", options.tolerance, "share by which a ratio may be worse")
      ->check(CLI::NonNegativeNumber)
      ->needs(against)
      ->capture_default_str();
  return run_main(app, argc, argv, [&app, &options] { run(app, options); });
}
