// prune_main(): prunes a checkpoint in steps, with fine-tuning after each step.
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "tandem/core/atomic_file.h"
#include "tandem/core/check.h"
#include "tandem/core/json.h"
#include "tandem/core/utf8.h"
#include "tandem/data/download/files.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/compression_score.h"
#include "tandem/tools/run/device.h"
#include "tandem/tools/run/output.h"
#include "tandem/tools/run/programs.h"
#include "tandem/tools/run/training_run.h"

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
  double lr = 0;  // peak learning rate of fine-tuning; 0: a tenth of the run's
  std::string precision = "auto";
  ScoringOptions scoring;
};

constexpr const char* kRecord = "prune.json";

// Error of both: json::exception, where a field is missing or of another type.
CompressionScore score_of(const json& row) {
  return {row.at("weights"), row.at("parameters"), row.at("nonzero"), row.at("bytes"), row.at("nats")};
}
StreamPosition position_of(const json& row) {
  return {row.at("epoch"), row.at("segment")};
}

// The record of the sparsities that are done, rewritten after each: the same command goes on from there.
class Record {
 public:
  Record(const fs::path& folder, const json& settings) : path_((folder / kRecord).string()) {
    json_ = {{"settings", settings}, {"rows", json::array()}};
    if (!fs::exists(path_)) return;
    const std::vector<uint8_t> bytes = read_file(path_);
    json_ = parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path_);
    check_structure();
    for (const auto& [name, value] : settings.items())
      TANDEM_CHECK(json_["settings"].value(name, json()) == value,
                   "{} holds a pruning with {} {}, not {}; give another --out", folder.string(), name,
                   json_["settings"].value(name, json()).dump(), value.dump());
  }

  const json& rows() const { return json_["rows"]; }
  // Returns whether row `index` is done. Error: the row is of another step.
  bool has(size_t index, const std::string& label) const {
    if (index >= rows().size()) return false;
    TANDEM_CHECK(rows()[index]["weights"] == label,
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
  // Error: the file is not such a record; somebody may have edited it.
  void check_structure() const {
    TANDEM_CHECK(json_.is_object() && json_.contains("settings") && json_["settings"].is_object() &&
                     json_.contains("rows") && json_["rows"].is_array(),
                 "{}: not a record of prune, an object with settings and rows; give another --out", path_);
    for (const json& row : rows()) {
      try {
        score_of(row);
        position_of(row);
      } catch (const json::exception& error) {
        detail::fail("{}: a row that cannot be read: {}: {}; give another --out", path_, error.what(),
                     row.dump());
      }
    }
  }

  std::string path_;
  json json_;
};

std::string file_name(double percent) {
  return fmt::format("sparsity-{:g}.safetensors", percent);
}

// Returns the highest learning rate of a run, which some schedules scale from the `lr` of the recipe.
double peak_lr(const Recipe& recipe) {
  return Schedule(schedule_config(recipe)).lr(std::max<int64_t>(0, recipe.warmup - 1));
}

// Returns the run that trains the pruned weights: text and model of `run`, and a schedule of its own.
RunConfig tuning_config(const RunConfig& run, const Options& o, Device device) {
  RunConfig config = run;
  config.recipe.schedule = "cosine";
  config.recipe.steps = config.recipe.eval_every = o.steps;
  config.recipe.warmup = o.steps / 20;
  config.recipe.lr = o.lr;
  config.precision = resolve_precision(o.precision, device);
  config.test = false;
  config.distillation = {};  // the pruned weights learn from the text alone
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

// Trains `pruned` with its masks fixed, from `position` of the text, which it advances. Resumes a fine-tuning
// that a signal stopped.
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
  if (run_training(trainer, corpus, options) == RunEnd::stopped_by_signal)
    throw StoppedBySignal("stopped before the end; the same command goes on");
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
  outlive_reader();
  std::string path = o.checkpoint;
  Checkpoint current = load_checkpoint(path);
  TANDEM_CHECK(current.quantized.empty(), "{}: the weights are quantized; prune first, then quantize", path);
  TANDEM_CHECK(!current.run_config.empty(),
               "{}: the checkpoint has no training run, whose text would be scored", path);
  const double before = 100 * pruned_share(current);
  TANDEM_CHECK(o.percent.front() > before - 0.01,
               "{}: {:.3g} % of the weights are pruned already; --sparsity begins at {:g}", path, before,
               o.percent.front());
  const RunConfig config = RunConfig::from_text(current.run_config);
  if (o.lr == 0) o.lr = peak_lr(config.recipe) / 10;
  const CompressionScorer scorer(o.scoring, current.vocabulary, config);
  const RunFolder folder = RunFolder::open_or_make(o.out);
  Record record(o.out, {{"checkpoint", escaped_utf8(fs::absolute(path).string())},
                        {"sha256", file_checksum("sha256", path)},
                        {"precision", o.precision},
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
    path = (o.out / file_name(percent)).string();
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
  std::cout << '\n';  // the table once more, without the lines of fine-tuning in it
  scorer.print_head();
  for (const json& row : record.rows()) scorer.print_row(score_of(row));
}

void check(const Options& o) {
  double last = 0;
  std::string last_name = file_name(0);
  for (const double percent : o.percent) {
    if (!(percent > last && percent < 100))
      throw UsageError(fmt::format("--sparsity: {} is not above {} and below 100", percent, last));
    if (file_name(percent) == last_name || file_name(percent) == file_name(100))
      throw UsageError(fmt::format("--sparsity: {} differs too little from {}; give at most six digits",
                                   percent, file_name(percent) == last_name ? last : 100));
    last = percent;
    last_name = file_name(percent);
  }
}

constexpr const char* kManual =
    R"(Example:
  {program} runs/gcide-laptop/best.safetensors --out=runs/pruned --finetune-steps=2000

"Train large, then compress" (Li, Wallace et al., 2020). For each sparsity in turn the smallest
weights are set to 0 by magnitude. What is pruned are the matrices, embeddings included; biases,
gains and scalars stay. With --finetune-steps=N the model is then trained for N steps on the text of
its run, from where the step before stopped, with a cosine schedule and a new optimizer; pruned
weights and their moments stay 0.

Each sparsity gives a checkpoint, and a row with its non-zero weights, its size and its bits per
character (of words its perplexity; of subwords that and bits per byte) on the held-out text, scored
in f32. In the file a pruned tensor is a bitmap and the remaining weights; evaluate, generate and
quantize read it without a flag. After a signal the same command goes on, also within fine-tuning;
what is done is in prune.json.)";

}  // namespace

int prune_main(int argc, char** argv) {
  Flags flags(program_name(argv),
              "Sets the smallest weights of a checkpoint to 0, sparsity by sparsity, and scores each result.",
              kManual);
  Options options;
  flags.add("checkpoint", options.checkpoint, "A checkpoint of train.").required();
  flags.add("--sparsity", options.percent, "Per cent of the weights that are 0, in growing steps.")
      .comma_separated()
      .one_argument()
      .show_default();
  flags
      .add("--scope", options.scope,
           "layer: prune the smallest weights of each matrix; global: the smallest of all matrices together.")
      .one_of({"layer", "global"})
      .show_default();
  flags.add("--finetune-steps", options.steps, "Number of updates after each step of pruning; 0: none.")
      .non_negative()
      .show_default();
  flags.add("--lr", options.lr, "Peak learning rate of fine-tuning [a tenth of the run's].").positive();
  flags.add("--precision", options.precision, "Precision of fine-tuning, as in train.")
      .one_of({"auto", "f32", "tf32", "bf16"})
      .show_default();
  flags.add("--out", options.out, "Folder of the results, sparsity-PERCENT.safetensors.").required();
  add_scoring_flags(flags, options.scoring);
  add_verify_flag(flags);
  return run_main(flags, argc, argv, [&options] {
    check(options);
    run(options);
  });
}

}  // namespace tandem
