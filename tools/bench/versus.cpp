// Rounds of two contenders, and the table of their results.
#include "tools/bench/versus.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tandem/core/atomic_file.h"
#include "tandem/core/check.h"
#include "tandem/core/random.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/checkpoint.h"
#include "tandem/models/training/run_config.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/device.h"
#include "tools/bench/child_process.h"
#include "tools/bench/manual.h"
#include "tools/bench/neighbours.h"
#include "tools/bench/operators.h"
#include "tools/bench/peak.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int64_t kWarmUp = 2;  // untimed steps of a process, after its first

struct Options {
  std::string with, form = "strong", precision, preset = "laptop-published";
  std::vector<std::string> tasks = {"train", "generate", "evaluate"};
  std::vector<int64_t> batches = {1, 32};
  BenchSizes sizes;
  int rounds = 5;
  int64_t steps = 0, bytes = 128, segments = 0, window = 2560;
  bool recompute = false;
  int64_t neighbours = 0;
  std::string python = "python3", script, json;
};

RunConfig run_config(const BenchSizes& sizes) {
  RunConfig config;
  config.preset = sizes.preset;
  json model = json::parse(sizes.model_config);
  model["dropout"] = model["attention_dropout"] = 0;  // no two frameworks draw the same masks
  config.model_config = model.dump();
  config.recipe = preset("srupp", sizes.preset).recipe;
  config.recipe.batch_size = sizes.batch_size;
  config.recipe.unroll = sizes.unroll;
  config.recipe.schedule = "constant";
  config.recipe.lr = 1e-3;
  config.recipe.warmup = 0;
  return config;
}

// Writes a checkpoint of initial weights in which the scale of attention (initially 0) and the logits (nearly
// 0) are made larger, so that losses depend on every part of the model.
void write_weights(const std::string& path, const RunConfig& config, const Vocabulary& vocabulary) {
  const std::unique_ptr<LanguageModel> model = make_model(config.model_config, config.seed);
  for (const NamedTensor& parameter : model->parameters()) {
    if (parameter.name.ends_with(".alpha")) parameter.value.data<float>()[0] = 0.5F;
    if (parameter.name == "embedding.weight" || parameter.name == "output.weight")
      for (float& value : parameter.value.span<float>()) value *= 5;
  }
  Checkpoint checkpoint;
  checkpoint.model_config = model->config();
  checkpoint.run_config = config.text();
  checkpoint.vocabulary = vocabulary;
  checkpoint.parameters = model->parameters();
  save_checkpoint(path, checkpoint);
}

// Returns bytes: every value below `vocabulary` once, then random ones.
std::string random_bytes(int64_t size, int64_t vocabulary) {
  std::string text;
  Random random(11);
  for (int64_t i = 0; i < size; ++i)
    text += static_cast<char>(i < vocabulary ? static_cast<uint64_t>(i)
                                             : random.below(static_cast<uint64_t>(vocabulary)));
  return text;
}

// One side of the comparison: its name, and the command that runs it.
struct Contender {
  std::string name;
  std::vector<std::string> command;
};

struct Outcome {
  json facts;
  ChildRun run;
};

Outcome run_contender(const Contender& contender, const std::vector<std::string>& arguments) {
  std::vector<std::string> command = contender.command;
  command.insert(command.end(), arguments.begin(), arguments.end());
  Outcome outcome{json::object(), run_child(command)};
  for (const std::string& line : outcome.run.lines) {
    const json facts = json::parse(line, nullptr, false);
    TANDEM_CHECK(facts.is_object(), "{}: a line that is no JSON object: {}", fmt::join(command, " "), line);
    outcome.facts.update(facts);
  }
  return outcome;
}

// Read a field that the JSON lines of a task must have. Error: they lack it.
double number_of(const Outcome& outcome, const std::string& field) {
  TANDEM_CHECK(outcome.facts.contains(field), "a contender did not print {}: {}", field,
               outcome.facts.dump());
  return outcome.facts.at(field).get<double>();
}
std::vector<double> numbers_of(const Outcome& outcome, const std::string& field) {
  TANDEM_CHECK(outcome.facts.contains(field), "a contender did not print {}: {}", field,
               outcome.facts.dump());
  return outcome.facts.at(field).get<std::vector<double>>();
}
double rate_of(const Outcome& outcome, const std::string& field, int64_t tokens) {
  return 1e3 * static_cast<double>(tokens) / spread_of(numbers_of(outcome, field)).median;
}

// Compares the sides in one precision and one form of the other side.
class Comparison {
 public:
  Comparison(const Options& options, const BenchSizes& sizes, std::string precision, Contender ours,
             Contender theirs, const TemporaryFolder& folder)
      : options_(options),
        sizes_(sizes),
        precision_(std::move(precision)),
        ours_(std::move(ours)),
        theirs_(std::move(theirs)),
        folder_(folder) {}

  json run(const std::string& title) {
    std::cout << "\n## " << title << "\n\n";
    const auto start = std::chrono::steady_clock::now();
    std::vector<Compared> table;
    for (const std::string& task : options_.tasks) {
      const std::vector<Compared> rows = run_task(task);
      table.insert(table.end(), rows.begin(), rows.end());
    }
    std::cout << fmt::format("\n| {} rounds | {} | {} | ratio |\n|---|---|---|---|\n", options_.rounds,
                             ours_.name, theirs_.name);
    json result;
    for (const Compared& row : table) {
      std::cout << comparison_row(row) << '\n';
      result[row.name] = {{"ours", row.ours}, {"theirs", row.theirs}};
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::cout << fmt::format("\nIn all {}.", duration_text(seconds)) << std::endl;
    return result;
  }

 private:
  std::vector<std::string> arguments(const std::string& task) const {
    const int64_t steps = task == "train"      ? options_.steps
                          : task == "generate" ? options_.bytes
                                               : options_.segments;
    std::vector<std::string> all = {"--task=" + task,
                                    "--checkpoint=" + folder_.file("weights.safetensors"),
                                    "--text=" + folder_.file("text"),
                                    "--precision=" + precision_,
                                    fmt::format("--steps={}", steps),
                                    fmt::format("--warm-up={}", task == "evaluate" ? 1 : kWarmUp)};
    if (task == "generate") {
      all.push_back(fmt::format("--memory={}", sizes_.unroll));
      all.push_back(fmt::format("--batches={}", fmt::join(options_.batches, ",")));
    }
    if (task == "evaluate") all.push_back(fmt::format("--window={}", options_.window));
    return all;
  }

  // Runs an untimed first round and then the rounds that count; in each, checks that the sides agree.
  std::vector<Compared> run_task(const std::string& task) {
    const Neighbours neighbours(task == "train" ? options_.neighbours : 0);
    const std::vector<std::string> common = arguments(task);
    std::vector<std::string> of_ours = common, of_theirs = common;
    if (task == "train" && options_.recompute) of_ours.push_back("--recompute");
    if (options_.with == "pytorch") {
      of_theirs.push_back("--form=" + options_.form);
      if (options_.form == "strong") tune(task, of_theirs);
    }
    std::vector<Compared> rows;
    for (int round = 0; round <= options_.rounds; ++round) {
      const Outcome ours = run_contender(ours_, of_ours), theirs = run_contender(theirs_, of_theirs);
      check(task, ours, theirs, round == 0);
      if (round == 0) continue;
      const std::vector<Compared> measured = quantities(task, ours, theirs);
      if (rows.empty())
        rows = measured;
      else
        for (size_t i = 0; i < rows.size(); ++i) {
          rows[i].ours.push_back(measured[i].ours[0]);
          rows[i].theirs.push_back(measured[i].theirs[0]);
        }
    }
    return rows;
  }

  // Lets the other side find its fastest options, and appends them to its command.
  void tune(const std::string& task, std::vector<std::string>& command) const {
    std::vector<std::string> asking = command;
    asking.push_back("--tune");
    const Outcome tried = run_contender(theirs_, asking);
    const auto options = tried.facts.at("options").get<std::vector<std::string>>();
    command.insert(command.end(), options.begin(), options.end());
    std::cout << fmt::format("- {}: {} runs with `{}` (best steps, ms: {})", task, theirs_.name,
                             fmt::join(options, " "), tried.facts.at("tried_ms").dump())
              << std::endl;
  }

  double tolerance() const { return precision_ == "f32" ? 1e-4 : 1e-2; }

  void check(const std::string& task, const Outcome& ours, const Outcome& theirs, bool tell) const {
    std::vector<std::string> said;
    const auto agree = [&](const std::string& what, double a, double b) {
      check_agreement(fmt::format("{} {}: {}", task, precision_, what), a, b, tolerance());
      said.push_back(fmt::format("{} {:.6f} and {:.6f}", what, a, b));
    };
    if (task == "train") {
      const std::vector<double> a = numbers_of(ours, "losses"), b = numbers_of(theirs, "losses");
      TANDEM_CHECK(a.size() == b.size() && a.size() >= 2, "train: {} losses and {}", a.size(), b.size());
      agree("loss of the first step", a[0], b[0]);
      agree("of the second, with memory, after an update", a[1], b[1]);
      said.push_back(fmt::format("of the last, {}, {:.6f} and {:.6f}", a.size(), a.back(), b.back()));
    } else if (task == "evaluate") {
      agree("bpc", number_of(ours, "nats") / std::log(2.0), number_of(theirs, "nats") / std::log(2.0));
    } else {
      for (const int64_t batch : options_.batches) {
        const std::string field = fmt::format("nats_{}", batch);
        agree(fmt::format("nats a byte at batch {}", batch), number_of(ours, field),
              number_of(theirs, field));
      }
    }
    if (tell)
      std::cout << fmt::format("- {}, {} and {}: {}", task, ours_.name, theirs_.name, fmt::join(said, "; "))
                << std::endl;
  }

  std::vector<Compared> quantities(const std::string& task, const Outcome& ours,
                                   const Outcome& theirs) const {
    if (task == "train") {
      const int64_t tokens = sizes_.tokens();
      const auto mib = [](const Outcome& outcome) {
        return static_cast<double>(outcome.run.peak_bytes) / (1 << 20);
      };
      return {{"training, tokens/s", {rate_of(ours, "ms", tokens)}, {rate_of(theirs, "ms", tokens)}},
              {"training, peak resident memory, MiB", {mib(ours)}, {mib(theirs)}},
              {"from process start to the end of the first step, s",
               {ours.run.first_line_s},
               {theirs.run.first_line_s}}};
    }
    if (task == "evaluate")
      return {{fmt::format("evaluation at window {}, tokens/s", options_.window),
               {rate_of(ours, "ms", options_.window)},
               {rate_of(theirs, "ms", options_.window)}}};
    std::vector<Compared> rows;
    for (const int64_t batch : options_.batches) {
      const std::string field = fmt::format("ms_{}", batch);
      rows.push_back({fmt::format("generation at batch {}, bytes/s", batch),
                      {rate_of(ours, field, batch)},
                      {rate_of(theirs, field, batch)}});
    }
    return rows;
  }

  const Options& options_;
  const BenchSizes& sizes_;
  std::string precision_;
  Contender ours_, theirs_;
  const TemporaryFolder& folder_;
};

std::vector<std::string> both(const std::string& asked, const std::vector<std::string>& all) {
  return asked == "both" ? all : std::vector{asked};
}

// Returns the size of the text that the longest task needs.
int64_t text_size(const Options& options, const BenchSizes& sizes) {
  const int64_t batch = *std::max_element(options.batches.begin(), options.batches.end());
  return std::max({sizes.vocabulary, sizes.tokens() * (1 + kWarmUp + options.steps),
                   options.window * (2 + options.segments), batch * sizes.unroll}) +
         batch;
}

void run(Options options) {
  const BenchSizes sizes = bench_sizes(options.preset, options.sizes);
  const bool small = sizes.d <= 512;
  if (options.steps == 0) options.steps = small ? 20 : 3;
  if (options.segments == 0) options.segments = small ? 4 : 2;
  const std::vector<MatmulPrecision> precisions = bench_precisions(options.precision);
  const std::string self = fs::read_symlink("/proc/self/exe").string();
  const Contender ours{"Tandem", {self, "contender"}};
  Contender theirs{"Tandem again", ours.command};
  if (options.with == "pytorch") {
    if (options.script.empty()) options.script = TANDEM_TOOLS_DIR "/pytorch/contender.py";
    TANDEM_CHECK(fs::exists(options.script), "{}: there is no such file; give --script", options.script);
    theirs.command = {options.python, options.script};
    run_child({options.python, options.script, "--help"});  // fails now if Python or torch is missing
  }

  const TemporaryFolder folder("tandem-vs-pytorch");
  // The peak memory of a child counts from what its parent holds at the fork, so the parent stays small.
  run_in_child("writing weights and text", [&] {
    const std::string text = random_bytes(text_size(options, sizes), sizes.vocabulary);
    write_file_atomically(folder.file("text"), text);
    write_weights(folder.file("weights.safetensors"), run_config(sizes),
                  Vocabulary::of({reinterpret_cast<const uint8_t*>(text.data()), text.size()}));
  });
  std::cout << device_line(Device::cpu()) << '\n'
            << sizes.text() << '\n'
            << fmt::format(
                   "each round a new process of either, in turn, after one that does not count; {} training "
                   "steps, {} bytes a row after {}, {} segments of {}, no dropout; ratios: Tandem over the "
                   "other, formed in each round",
                   options.steps, options.bytes, sizes.unroll, options.segments, options.window)
            << std::endl;
  json report = json::array();
  for (const MatmulPrecision of : precisions)
    for (const std::string& form : both(options.form, {"strong", "authors"})) {
      const std::string precision = name_of(of);
      Options one = options;
      one.form = form;
      if (form == "authors") std::erase(one.tasks, "generate");
      Contender other = theirs;
      if (options.with == "pytorch") other.name = form == "strong" ? "PyTorch" : "PyTorch, the authors' way";
      const json result =
          Comparison(one, sizes, precision, ours, other, folder).run(precision + ", " + other.name);
      report.push_back({{"preset", sizes.preset},
                        {"unroll", sizes.unroll},
                        {"batch_size", sizes.batch_size},
                        {"precision", precision},
                        {"with", other.name},
                        {"quantities", result}});
      if (options.with != "pytorch") break;
    }
  if (!options.json.empty()) write_file_atomically(options.json, report.dump(2) + "\n");
}

}  // namespace

int versus_main(int argc, char** argv) {
  Flags flags(
      "bench vs-pytorch",
      "Times Tandem and PyTorch in turn on the CPU, on the same weights and text: training, generation, evaluation.",
      kVersusManual);
  Options options;
  flags.add("--with", options.with, "The other side: pytorch, or tandem itself.")
      .required()
      .one_of({"pytorch", "tandem"});
  flags
      .add("--form", options.form,
           "How PyTorch is used: at its best, as SRU++'s authors do, or both in turn.")
      .one_of({"strong", "authors", "both"})
      .show_default();
  flags.add("--precision", options.precision, "f32, bf16 or both [both, if the CPU has bf16].")
      .one_of({"f32", "bf16", "both"});
  flags.add("--preset", options.preset, "Preset of SRU++ that sizes come from, one with the published model.")
      .show_default();
  flags.add("--tasks", options.tasks, "Tasks to compare, with commas between them [train,generate,evaluate].")
      .comma_separated()
      .one_of({"train", "generate", "evaluate"});
  flags.add("--rounds", options.rounds, "Number of rounds.").positive().show_default();
  flags.add("--steps", options.steps, "Timed training steps in a round [20; 3 for d above 512].").positive();
  flags.add("--bytes", options.bytes, "Bytes to generate in each row and round.").positive().show_default();
  flags.add("--segments", options.segments, "Timed segments of evaluation [4; 2 for d above 512].")
      .positive();
  flags.add("--window", options.window, "Tokens of a segment of evaluation.").positive().show_default();
  flags.add_switch("--recompute", options.recompute,
                   "Let Tandem's side recompute layers in training, and the other not.");
  add_neighbours_flag(flags, options.neighbours);
  flags.add("--generate-batches", options.batches, "Numbers of rows that are generated side by side [1,32].")
      .comma_separated()
      .positive();
  add_size_flags(flags, options.sizes);
  flags.add("--python", options.python, "A Python that has torch.").show_default();
  flags.add("--script", options.script,
            "Path of pytorch/contender.py [that of the sources this was built from].");
  flags.add("--json", options.json, "Write every number of every round to this file.");
  return run_main(flags, argc, argv, [&options] { run(options); });
}

}  // namespace tandem
