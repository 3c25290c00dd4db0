// prune: sets the smallest weights of a checkpoint to 0, in steps, with fine-tuning between them.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/atomic_file.h"
#include "core/check.h"
#include "tools/run/cli.h"
#include "tools/run/compression_score.h"
#include "tools/run/device.h"
#include "tools/run/training_run.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Options {
  std::string checkpoint;
  fs::path out;
  std::vector<double> percent = {15, 30, 45, 60, 75, 90};
  std::string scope = "layer";
  int64_t steps = 0;
  double lr = 0;  // 0: a tenth of the run's
  std::string precision = "auto";
  ScoringOptions scoring;
};

constexpr const char* kRecord = "prune.json";

// What has been done so far, written anew after each sparsity: the same command goes on from there.
class Record {
 public:
  Record(const fs::path& folder, const json& settings) : path_((folder / kRecord).string()) {
    json_ = {{"settings", settings}, {"rows", json::array()}};
    if (!fs::exists(path_)) return;
    std::ifstream file(path_);
    json_ = json::parse(file, nullptr, false);
    CHECK(json_.is_object() && json_.contains("settings") && json_.contains("rows"), "{}: cannot be read",
          path_);
    for (const auto& [name, value] : settings.items())
      CHECK(json_["settings"].value(name, json()) == value,
            "{} holds a pruning with {} {}, not {}; give another --out", folder.string(), name,
            json_["settings"].value(name, json()).dump(), value.dump());
  }

  const json& rows() const { return json_["rows"]; }
  // Error: what was done in this place is another step.
  bool has(size_t index, const std::string& label) const {
    if (index >= rows().size()) return false;
    CHECK(rows()[index]["weights"] == label,
          "{}: \"{}\" was done where \"{}\" is asked for; give another --out", path_,
          rows()[index]["weights"].get<std::string>(), label);
    return true;
  }
  void add(const CompressionScore& score, const StreamPosition& position) {
    json_["rows"].push_back({{"weights", score.label},
                             {"parameters", score.parameters},
                             {"nonzero", score.nonzero},
                             {"bytes", score.bytes},
                             {"nats", score.nats},
                             {"epoch", position.epoch},
                             {"segment", position.segment}});
    write_file_atomically(path_, json_.dump(2) + "\n");
  }

 private:
  std::string path_;
  json json_;
};

CompressionScore score_of(const json& row) {
  return {row["weights"], row["parameters"], row["nonzero"], row["bytes"], row["nats"]};
}
StreamPosition position_of(const json& row) {
  return {row["epoch"], row["segment"]};
}

// The highest rate of a run's schedule, which need not be the number that the schedule is given.
double peak_lr(const Recipe& recipe) {
  return Schedule(schedule_config(recipe)).lr(std::max<int64_t>(0, recipe.warmup - 1));
}

// The run that goes on with pruned weights: its text and model, a schedule of its own.
RunConfig tuning_config(const RunConfig& run, const Options& o, Device device) {
  RunConfig config = run;
  config.recipe.schedule = "cosine";
  config.recipe.steps = config.recipe.eval_every = o.steps;
  config.recipe.warmup = o.steps / 20;
  config.recipe.lr = o.lr;
  config.precision = resolve_precision(o.precision, device);
  return config;
}

Checkpoint pruned(const Checkpoint& before, double sparsity, const std::string& scope) {
  Checkpoint after;
  after.model_config = before.model_config;
  after.run_config = before.run_config;
  after.vocabulary = before.vocabulary;
  after.parameters = before.parameters;
  after.masks =
      prune(after.parameters, sparsity, scope == "global" ? PruningScope::global : PruningScope::layer);
  return after;
}

// Trains `pruned` with its masks held, from `position` of the text on, which moves; stopped by a signal, it
// goes on.
Checkpoint fine_tuned(const Checkpoint& pruned, const RunConfig& config, const CompressionScorer& scorer,
                      const fs::path& folder, StreamPosition& position) {
  const Corpus& corpus = scorer.corpus();
  Trainer trainer(config, corpus.split("train"), pruned.vocabulary, scorer.device());
  if (fs::exists(folder / kLastCheckpoint)) {
    trainer.restore(load_checkpoint((folder / kLastCheckpoint).string()));
  } else {
    Checkpoint start = trainer.checkpoint();
    start.parameters = pruned.parameters;
    start.masks = pruned.masks;
    json progress = json::parse(start.progress);
    progress["epoch"] = position.epoch;
    progress["segment"] = position.segment;
    start.progress = progress.dump();
    trainer.restore(start);
  }
  RunOptions options;
  options.folder = folder;
  options.log_every = std::max<int64_t>(1, config.recipe.steps / 10);
  options.sample_tokens = 0;
  options.test = false;
  if (run_training(trainer, corpus, options) == RunEnd::stopped_by_signal)
    throw Error("stopped before the end; the same command goes on");
  position = trainer.position();
  Checkpoint best = load_checkpoint((folder / kBestCheckpoint).string());
  best.run_config = pruned.run_config;
  return best;
}

double pruned_share(const Checkpoint& checkpoint) {
  double weights = 0, pruned = 0;
  for (const NamedTensor& mask : checkpoint.masks) {
    weights += static_cast<double>(mask.value.numel());
    for (const uint8_t kept : mask.value.span<uint8_t>()) pruned += kept == 0;
  }
  return weights > 0 ? pruned / weights : 0;
}

void run(Options o) {
  std::string path = o.checkpoint;
  Checkpoint current = load_checkpoint(path);
  CHECK(current.quantized.empty(), "{}: the weights are quantized; prune first, then quantize", path);
  CHECK(!current.run_config.empty(),
        "{}: the checkpoint does not tell its training run, whose text is scored", path);
  const double before = 100 * pruned_share(current);
  CHECK(o.percent.front() > before - 0.01,
        "{}: {:.3g} % of the weights are pruned already; --sparsity begins at {:g}", path, before,
        o.percent.front());
  const RunConfig config = RunConfig::from_text(current.run_config);
  if (o.lr == 0) o.lr = peak_lr(config.recipe) / 10;
  const CompressionScorer scorer(o.scoring, config);
  CHECK(o.steps == 0 || scorer.corpus().sha256 == config.corpus_sha256,
        "the run was on {} with sha256 {}; {} has {}", config.corpus, config.corpus_sha256,
        scorer.corpus().source, scorer.corpus().sha256);

  fs::create_directories(o.out);
  Record record(o.out, {{"checkpoint", fs::absolute(path).string()},
                        {"scope", o.scope},
                        {"finetune_steps", o.steps},
                        {"lr", o.lr},
                        {"split", o.scoring.split},
                        {"limit", o.scoring.limit},
                        {"batch_size", o.scoring.batch_size}});
  std::cout << "pruned: the matrices, embeddings too; not biases, gains and scalars\n";
  scorer.print_start();
  scorer.print_head();
  if (!record.has(0, "f32")) record.add(scorer.score("f32", path), {});
  scorer.print_row(score_of(record.rows()[0]));
  for (size_t i = 0; i < o.percent.size(); ++i) {
    const double percent = o.percent[i];
    const std::string label = fmt::format("{:g} % pruned", percent);
    path = (o.out / fmt::format("sparsity-{:g}.safetensors", percent)).string();
    if (!record.has(i + 1, label)) {
      Checkpoint next = pruned(current, percent / 100, o.scope);
      StreamPosition position = position_of(record.rows()[i]);
      const fs::path tuning = o.out / fmt::format("fine-tuning-{:g}", percent);
      if (o.steps > 0)
        next = fine_tuned(next, tuning_config(config, o, scorer.device()), scorer, tuning, position);
      save_checkpoint(path, next);
      record.add(scorer.score(label, path), position);
      fs::remove_all(tuning);
    }
    scorer.print_row(score_of(record.rows()[i + 1]));
    current = load_checkpoint(path);
  }
  if (o.steps == 0) return;
  std::cout << '\n';  // once more, without the steps of fine-tuning in between
  scorer.print_head();
  for (const json& row : record.rows()) scorer.print_row(score_of(row));
}

void check(const Options& o) {
  double last = 0;
  for (const double percent : o.percent) {
    if (!(percent > last && percent < 100))
      throw UsageError(fmt::format("--sparsity: {} is not above {} and below 100", percent, last));
    last = percent;
  }
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  limit_openmp_spinning(argv);
  CLI::App app(
      "Prunes the smallest weights of a checkpoint, sparsity after sparsity, and scores each result.",
      "prune");
  Options options;
  app.add_option("checkpoint", options.checkpoint, "checkpoint of train")->required();
  app.add_option("--sparsity", options.percent, "per cent of the weights that are 0, growing")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  app.add_option("--scope", options.scope, "layer: of each matrix; global: of all, wherever the smallest are")
      ->check(CLI::IsMember({"layer", "global"}))
      ->capture_default_str();
  app.add_option("--finetune-steps", options.steps, "updates after each step of pruning; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--lr", options.lr, "peak learning rate of fine-tuning [a tenth of the run's]")
      ->check(CLI::PositiveNumber);
  app.add_option("--precision", options.precision, "of fine-tuning, as in train")
      ->check(CLI::IsMember({"auto", "f32", "tf32", "bf16"}))
      ->capture_default_str();
  app.add_option("--out", options.out, "folder of the results, sparsity-PERCENT.safetensors")->required();
  add_scoring_options(app, options.scoring);
  return run_main(app, argc, argv, [&options] {
    check(options);
    run(options);
  });
}
