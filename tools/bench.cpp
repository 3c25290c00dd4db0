// bench: how fast operators and training steps are, and how far from what the machine can do.
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "core/caching_allocator.h"
#include "core/check.h"
#include "tools/support/bench_compare.h"
#include "tools/support/bench_contender.h"
#include "tools/support/bench_report.h"
#include "tools/support/bench_step.h"
#include "tools/support/cli.h"

namespace tandem {
namespace {

struct Options {
  std::vector<std::string> targets;
  std::string preset = "laptop";
  std::string precision;  // empty: f32 and bf16, where the device has both
  std::string device = "auto";
  BenchSizes sizes;  // overrides
  int64_t steps = 20;
  int rounds = 9;
};

// By name, or what the bench device has of several. Error: it does not have the one that was asked for.
std::vector<MatmulPrecision> precisions_of(const std::string& name) {
  if (!name.empty() && name != "both" && name != "all")
    return {precision_named(resolve_precision(name, bench_device()))};
  CHECK(name != "both" || bench_has(MatmulPrecision::bf16),
        "--precision=both: this CPU has no bf16 products; use --precision=f32");
  std::vector<MatmulPrecision> precisions{MatmulPrecision::f32};
  if (name == "all" && bench_has(MatmulPrecision::tf32)) precisions.push_back(MatmulPrecision::tf32);
  if (bench_has(MatmulPrecision::bf16)) precisions.push_back(MatmulPrecision::bf16);
  return precisions;
}

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

void run_operator(const std::string& op, const BenchSizes& sizes,
                  const std::vector<MatmulPrecision>& precisions, int rounds, const Peaks& peaks) {
  bool any = false;
  for (const MatmulPrecision precision : precisions)
    for (const BenchCase& c : bench_cases(op, sizes, precision)) {
      std::cout << result_text(c, run_case(c, rounds), peaks) << std::endl;
      any = true;
    }
  if (!any)
    std::cout << fmt::format("{}: has no products, so nothing in {}; it runs in f32", op,
                             name_of(precisions[0]))
              << std::endl;
}

void run_step(const BenchSizes& sizes, const std::vector<MatmulPrecision>& precisions, int64_t steps,
              const Peaks& peaks) {
  std::vector<StepResult> results;
  for (const MatmulPrecision precision : precisions) {
    results.push_back(bench_step(sizes, precision, steps, peaks));
    std::cout << step_text(results.back(), peaks) << std::endl;
  }
  for (size_t i = 1; i < results.size(); ++i)
    std::cout << fmt::format("{} against f32: {:.2f} times the speed", name_of(results[i].precision),
                             results[0].step_ms.median / results[i].step_ms.median)
              << std::endl;
  if (allocator_mode_from_environment() == AllocatorMode::direct) return;  // every allocation is the system's
  for (const StepResult& result : results)
    CHECK(result.system_allocations == 0,
          "step {}: {} allocations from the system after the warm-up; there must be none",
          name_of(result.precision), result.system_allocations);
}

void run(const Options& options) {
  const std::vector<std::string> targets = expand(options.targets);
  const BenchDeviceScope on(resolve_device(options.device));
  const std::vector<MatmulPrecision> precisions = precisions_of(options.precision);
  const BenchSizes sizes = bench_sizes(options.preset, options.sizes);
  std::cout << device_line(bench_device()) << '\n' << sizes.text() << std::endl;
  Peaks peaks;
  if (targets != std::vector<std::string>{"peak"}) {
    peaks = measure_peaks(options.rounds);
    std::cout << "measured peaks of products:";
    for (const MatmulPrecision precision :
         {MatmulPrecision::f32, MatmulPrecision::tf32, MatmulPrecision::bf16})
      if (bench_has(precision))
        std::cout << fmt::format("{} {} {}", precision == MatmulPrecision::f32 ? "" : ",", name_of(precision),
                                 flops_text(peaks.gflops(precision)));
    std::cout << std::endl;
  }
  bool header = false;
  for (const std::string& target : targets) {
    if (target == "peak") {
      std::cout << peak_text(options.rounds) << std::flush;
    } else if (target == "step") {
      run_step(sizes, precisions, options.steps, peaks);
    } else {
      if (!header) std::cout << result_header() << std::endl;
      header = true;
      run_operator(target, sizes, precisions, options.rounds, peaks);
    }
  }
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  const std::string first = argc > 1 ? argv[1] : "";
  if (first == "compare") return compare_main(argc - 1, argv + 1);
  if (first == "contender") return contender_main(argc - 1, argv + 1);
  CLI::App app(
      "Benchmarks. OP: checks an operator, then times it forward and backward. peak: what products and "
      "copies reach at "
      "most. step: training steps, their split, and the floor that products set. compare: Tandem and PyTorch "
      "in "
      "turn (bench compare --help).",
      "bench");
  Options options;
  app.add_option("what", options.targets, "operators, or all of them, or peak, or step")->required();
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
  app.add_option("--batch-size", options.sizes.batch_size, "B [the preset's]")->check(CLI::PositiveNumber);
  app.add_option("--unroll", options.sizes.unroll, "T, and the length of the memory [the preset's]")
      ->check(CLI::PositiveNumber);
  app.add_option("--d", options.sizes.d, "width of the model [the preset's]")->check(CLI::PositiveNumber);
  app.add_option("--d-projected", options.sizes.d_projected, "d', width of attention [the preset's]")
      ->check(CLI::PositiveNumber);
  app.add_option("--heads", options.sizes.heads, "of attention [the preset's]")->check(CLI::PositiveNumber);
  app.add_option("--vocabulary", options.sizes.vocabulary, "V: distinct bytes [99, as in gcide]")
      ->check(CLI::Range(2, 256));
  app.add_option("--words", options.sizes.words,
                 "vocabulary of adaptive_softmax and adaptive_embedding [267735, as in WikiText-103]")
      ->check(CLI::Range(int64_t{100}, int64_t{1} << 24));
  return run_main(app, argc, argv, [&options] { run(options); });
}
