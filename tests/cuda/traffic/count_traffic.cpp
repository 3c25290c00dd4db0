// count_traffic: counts what operators and training steps move on the simulated GPU, beside what the benchmarks say
// that they must move at least.
#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tandem/core/check.h"
#include "tandem/cuda/simulator/simulator.h"
#include "tandem/models/training/trainer.h"
#include "tandem/tools/run/cli.h"
#include "tests/cuda/traffic/counted_case.h"
#include "tools/bench/json.h"
#include "tools/bench/operators.h"
#include "tools/bench/step.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

using nlohmann::ordered_json;
using simulator::GlobalTraffic;
using simulator::KernelTraffic;

struct Options {
  std::vector<std::string> targets;
  std::string preset = "laptop", precision = "bf16", json;
  int64_t layers = 0;
  BenchSizes sizes;
};

// Prints the rows of a pass: what its operator must move, what it moved, and its launches.
void print_pass(const BenchCase& c, const char* pass, const Work& work,
                const std::vector<KernelTraffic>& launches) {
  if (work.empty() && launches.empty()) return;
  const auto row = [](const std::string& name, const std::string& predicted, const KernelTraffic& t) {
    fmt::print("| {} | {} | {} | {} | {} | {} |\n", name, predicted, t.read.distinct + t.written.distinct,
               t.read.bytes + t.written.bytes, t.read.sector_bytes() + t.written.sector_bytes(),
               t.bank_conflicts);
  };
  row(fmt::format("**{} {} {}, {}**", c.op, name_of(c.precision), c.name, pass),
      work.bytes > 0 ? fmt::format("{:.0f}", work.bytes) : "", testing::sum_of(launches));
  for (const KernelTraffic& launch : launches) row(fmt::format("`{}`", launch.name), "", launch);
}

void count_operator(const std::string& op, const BenchSizes& sizes, MatmulPrecision precision) {
  for (const BenchCase& c : bench_cases(op, sizes, precision)) {
    const testing::CountedCase counted = testing::count_case(c);
    print_pass(c, "forward", c.forward, counted.forward);
    print_pass(c, "backward", c.backward, counted.backward);
  }
}

ordered_json traffic_json(const GlobalTraffic& traffic) {
  return {{"bytes", traffic.bytes}, {"sector_bytes", traffic.sector_bytes()}, {"distinct", traffic.distinct}};
}

// Counts the second step, in which there is a memory.
ordered_json count_step(const Options& options, const BenchSizes& sizes, MatmulPrecision precision) {
  RunConfig config = step_config(sizes, precision);
  nlohmann::json model = nlohmann::json::parse(config.model_config);
  if (options.layers > 0) model["layers"] = options.layers;
  config.model_config = model.dump();
  const std::vector<uint8_t> text = random_bytes(config.recipe, 4, sizes.vocabulary);
  const Vocabulary vocabulary = Vocabulary::of(text);
  Trainer trainer(config, {text, vocabulary}, vocabulary, bench_device());
  simulator::set_products(simulator::Products::zeros);
  trainer.step();
  const simulator::TrafficCount count;
  const GemmLog log;
  const StepRecord record = trainer.step();
  TANDEM_CHECK(!record.skipped,
               "count_traffic: the step was skipped: its loss is {}, the norm of its gradient {}",
               record.loss, record.gradient_norm);
  ordered_json json = {{"step", fmt::format("{}, {} layers, {}", sizes.text(),
                                            model.value("layers", int64_t{0}), name_of(precision))},
                       {"layers", model.value("layers", int64_t{0})},
                       {"sizes", sizes_json(sizes)},
                       {"products", ordered_json::array()},
                       {"launches", ordered_json::array()}};
  for (const GemmCall& call : log.sequence()) json["products"].push_back(product_text(call));
  for (const KernelTraffic& launch : count.launches())
    json["launches"].push_back({{"name", launch.name},
                                {"read", traffic_json(launch.read)},
                                {"written", traffic_json(launch.written)},
                                {"shared_accesses", launch.shared_accesses},
                                {"bank_conflicts", launch.bank_conflicts}});
  return json;
}

void run(const Options& options) {
  simulator::set_memory(size_t{64} << 30);
  const BenchDeviceScope on(Device::cuda());
  const MatmulPrecision precision = bench_precisions(options.precision).at(0);
  const BenchSizes sizes = bench_sizes(options.preset, options.sizes);
  std::cout << sizes.text() << std::endl;
  for (const std::string& target : options.targets) {
    if (target == "step") {
      const ordered_json json = count_step(options, sizes, precision);
      if (options.json.empty()) throw UsageError("step needs --json=FILE");
      std::ofstream(options.json) << json.dump(1) << std::endl;
      continue;
    }
    std::cout
        << "| case, pass and its launches | bytes predicted | each byte once | asked for | sectors | bank conflicts |\n"
           "|---|---|---|---|---|---|\n";
    for (const std::string& op : target == "all" ? bench_operator_names() : std::vector<std::string>{target})
      count_operator(op, sizes, precision);
  }
}

int count_traffic_main(int argc, char** argv) {
  Options options;
  Flags flags(
      "count_traffic",
      "Counts the global memory that kernels read and write on the simulated GPU, in bytes and in sectors of 32 "
      "bytes, and their bank conflicts.");
  flags.add("what", options.targets, "Operators, all of them, or step.").required();
  flags.add("--preset", options.preset, "Sizes are those of this preset of SRU++.").show_default();
  flags.add("--precision", options.precision, "f32, tf32 or bf16.").show_default();
  flags.add("--layers", options.layers, "In step, the number of layers [the preset's].").positive();
  flags.add("--json", options.json, "In step, the file for the counts of each launch.");
  add_size_flags(flags, options.sizes);
  flags.add("--words", options.sizes.words, "Vocabulary of adaptive_softmax and adaptive_embedding.")
      .positive();
  return run_main(flags, argc, argv, [&options] { run(options); });
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  return tandem::count_traffic_main(argc, argv);
}
