// train_main(): the runs that train begins and resumes.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "tandem/core/allocation_budget.h"
#include "tandem/core/backend.h"
#include "tandem/core/check.h"
#include "tandem/core/json.h"
#include "tandem/core/utf8.h"
#include "tandem/data/tokens.h"
#include "tandem/models/presets.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/tensor_exchange.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/config_text.h"
#include "tandem/tools/run/device.h"
#include "tandem/tools/run/output.h"
#include "tandem/tools/run/programs.h"
#include "tandem/tools/run/ranks.h"
#include "tandem/tools/run/rate_search.h"
#include "tandem/tools/run/run_facts.h"
#include "tandem/tools/run/run_folder.h"
#include "tandem/tools/run/train_config.h"
#include "tandem/tools/run/train_options.h"
#include "tandem/tools/run/training_run.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

// Returns "gcide-laptop", or "gcide-sru-laptop" for another model: the name of a new run under runs/.
std::string run_name(const TrainOptions& o) {
  std::string name = fs::path(o.corpus.name_or_path).filename().string();
  if (o.model != kDefaultModel) name += "-" + o.model;
  return name + "-" + o.preset;
}

constexpr const char* kRuns = "runs";

// Returns the checkpoint to go on from: that of --resume; without a value that of --out, so that the command of a run goes
// on when --resume is added to it; without either the latest.
fs::path resume_path(const TrainOptions& o) {
  const fs::path path = !o.resume->empty() ? fs::path(*o.resume)
                        : !o.out.empty()   ? fs::path(o.out)
                                           : latest_run(kRuns, run_name(o));
  TANDEM_CHECK(!path.empty(),
               "--resume: there is no run of {} with model {} and preset {} under {}/; give its folder",
               o.corpus.name_or_path, o.model, o.preset, kRuns);
  return fs::is_directory(path) ? path / kLastCheckpoint : path;
}

// Returns the folder that a resumed run goes on in: that of the checkpoint, or a new one, --out, which gets the metrics
// and the best weights up to the checkpoint. Error: the checkpoint is an older one of a folder that holds a later one,
// which the run would overwrite.
RunFolder resumed_folder(const TrainOptions& o, const fs::path& checkpoint) {
  TANDEM_CHECK(fs::is_regular_file(checkpoint), "--resume: there is no file {}", checkpoint.string());
  const fs::path from = fs::absolute(checkpoint).lexically_normal().parent_path(),
                 last = from / kLastCheckpoint;
  std::error_code error;
  const bool is_last = fs::equivalent(checkpoint, last, error);
  if (o.out.empty() || fs::equivalent(o.out, from, error)) {
    TANDEM_CHECK(
        is_last || !fs::exists(last),
        "--resume={}: the folder holds {}, too, which this run would overwrite; give --resume={} to go on with that, "
        "or --out=FOLDER to go on from {} in a folder of its own",
        checkpoint.string(), last.string(), from.string(), checkpoint.filename().string());
    return RunFolder::open_or_make(from);
  }
  RunFolder folder = RunFolder::make(o.out);
  // The best weights at the time of an older checkpoint are not known, so the next evaluation chooses them.
  const char* const files[] = {kMetrics, kRunFacts, is_last ? kBestCheckpoint : nullptr};
  for (const char* name : files)
    if (name && fs::exists(from / name))
      fs::copy_file(from / name, folder.path() / name, fs::copy_options::overwrite_existing);
  return folder;
}

void print_start(const Trainer& trainer, const Corpus& corpus, const fs::path& folder,
                 const std::string& reduce, const std::vector<double>& unknown_shares) {
  const RunConfig& config = trainer.config();
  say(device_line(trainer.device()) + "\n");
  const std::string ranks = ranks_line(trainer.ranks(), trainer.transport(), config.recipe.shards, reduce);
  if (!ranks.empty()) say(ranks + "\n");
  say(fmt::format("corpus: {}, {} {} (train {}, dev {}, test {}), {} symbols, sha256 {}\n", corpus.source,
                  with_commas(corpus.size()), tokens_name(corpus.level()), with_commas(corpus.train.size()),
                  with_commas(corpus.dev.size()), with_commas(corpus.test.size()),
                  with_commas(corpus.vocabulary.size()), corpus.sha256.substr(0, 16)));
  if (corpus.level() == TokenUnit::subword)
    say(fmt::format(
        "subwords: {:.3f} bytes of text each in train\n",
        static_cast<double>(text_bytes(corpus.split("train"), corpus.vocabulary, 0, corpus.train.size())) /
            static_cast<double>(corpus.train.size())));
  if (!unknown_shares.empty())
    say(fmt::format("unknown words: {:.2f} % of train, {:.2f} % of dev, {:.2f} % of test are <unk>\n",
                    100 * unknown_shares[0], 100 * unknown_shares[1], 100 * unknown_shares[2]));
  say(fmt::format("model: {} parameters, {}\n", with_commas(trainer.model().parameter_count()),
                  printable(trainer.model().config())));
  if (const Distillation& d = config.distillation; trainer.teacher())
    say(fmt::format(
        "teacher: {}, {} parameters, weight {:g}, temperature {:g}, {}digest {}\n", printable(d.teacher),
        with_commas(trainer.teacher()->parameter_count()), d.weight, d.temperature,
        d.imitate_steps > 0 ? fmt::format("imitation for {} steps, ", d.imitate_steps) : "", d.digest));
  const Recipe& r = config.recipe;
  say(fmt::format(
      "recipe: preset {}, {} steps of {} x {} x {}, {} lr {:g}, warm-up {}, weight decay {:g} of {}, clip {:g}, "
      "precision {}, seed {}{}\n",
      config.preset, r.steps, r.accumulate, r.batch_size, r.unroll, r.optimizer, r.lr, r.warmup,
      r.weight_decay, r.decay, r.clip, config.precision, config.seed, config.recompute ? ", recompute" : ""));
  say(fmt::format("run: {}\n", folder.string()));
}

// Prints what a step of this run is and costs, for programs that plan runs.
void print_description(const RunConfig& config, const LanguageModel& model, const LanguageModel* teacher,
                       const Corpus& corpus, Device device) {
  const Recipe& r = config.recipe;
  const auto tokens = static_cast<double>(r.accumulate * r.batch_size * r.unroll);
  const nlohmann::ordered_json json = {
      {"model", nlohmann::ordered_json::parse(config.model_config)},
      {"parameters", model.parameter_count()},
      {"carries_state", model.carries_state()},
      {"batch_size", r.batch_size},
      {"unroll", r.unroll},
      {"tokens_per_step", tokens},
      {"flops_per_step", tokens * training_flops_per_token(model, r, teacher)},
      {"steps", r.steps},
      {"warmup", r.warmup},
      {"level", name_of(config.level)},
      {"recipe", parse_json(config.text(), "the run's configuration")["recipe"]},
      {"precision", config.precision},
      {"seed", config.seed},
      {"recompute", config.recompute},
      {"corpus",
       {{"source", escaped_utf8(corpus.source)},
        {"sha256", corpus.sha256},
        {"train", corpus.train.size()},
        {"dev", corpus.dev.size()},
        {"test", corpus.test.size()}}},
      {"device", device_name(device)}};
  fmt::print("{}\n", json.dump());
}

// Lets the text be split as in the run, whatever it is called now.
void use_run(CorpusOptions& options, const RunConfig& config) {
  options.level = config.level;
  options.words = config.words;
  options.valid_fraction = config.valid_fraction;
  options.test_fraction = config.test_fraction;
  options.trained = TrainedText{.corpus_sha256 = config.corpus_sha256,
                                .text_sha256 = config.text_sha256,
                                .valid_fraction = config.valid_fraction,
                                .test_fraction = config.test_fraction,
                                .words = config.words};
}

void check_same_kind(const Flags& flags, const TrainOptions& o, const RunConfig& config) {
  const std::string model = parse_json(config.model_config, "the run's model").value("model", "");
  TANDEM_CHECK(!flags.given("--model") || o.model == model, "--resume: the run is of the model {}, not {}",
               model, o.model);
  TANDEM_CHECK(!flags.given("--preset") || o.preset == config.preset,
               "--resume: the run has preset {}, not {}", config.preset, o.preset);
}

Corpus load_corpus_with_progress(CorpusOptions options) {
  ProgressLine line;
  options.progress = corpus_progress(line);
  return load_corpus(options);
}

// Returns what a trainer of this run may take at most while it is made: a file decides how large the model is.
size_t bytes_to_restore(const Checkpoint& checkpoint, const RunConfig& config) {
  const Recipe& recipe = config.recipe;
  constexpr int64_t kSlack = int64_t{8} << 20;
  int64_t bytes =
      kSlack + 2 * 4 * recipe.accumulate * recipe.batch_size * recipe.unroll;  // ids of inputs and targets
  for (const auto* tensors : {&checkpoint.parameters, &checkpoint.optimizer})
    for (const NamedTensor& tensor : *tensors)  // twice, since initial values may be made from others
      bytes += 2 * static_cast<int64_t>(AllocationBudget::cost(tensor.value.nbytes()));
  return static_cast<size_t>(bytes);
}

// Error: there is no such file.
void check_teacher_file(const std::string& path) {
  TANDEM_CHECK(fs::is_regular_file(path),
               "--teacher: there is no file {}; give the path of the teacher's checkpoint", path);
}

// Returns the teacher of a run, and puts its digest into a new run's configuration; without a model if the run has none.
// Error: the file is missing, or is no model.
Teacher teacher_of(RunConfig& config, Device device) {
  Distillation& d = config.distillation;
  if (d.weight == 0) return {};
  check_teacher_file(d.teacher);
  Teacher teacher = load_teacher(d.teacher, device);
  if (d.digest.empty()) d.digest = teacher.digest;
  return teacher;
}

// Trains in a folder that rank 0 has locked, from the beginning or from `checkpoint`.
void train_in(const fs::path& folder, const RunConfig& config, const Corpus& corpus, TrainOptions& o,
              Teacher teacher, Device device, const Checkpoint* checkpoint,
              const std::shared_ptr<Ranks>& ranks) {
  wait_for_corpus(*ranks);
  check_same_run(*ranks, config, corpus, device);
  o.run.folder = folder;
  if (o.tensorboard) o.run.tensorboard = o.tensorboard->empty() ? folder : fs::path(*o.tensorboard);
  if (o.run.log_every == 0) o.run.log_every = std::max<int64_t>(1, config.recipe.steps / 50);
  const int64_t usual_sample = corpus.level() == TokenUnit::byte ? 400 : 80;
  o.run.sample_tokens = config.sample_tokens < 0 ? usual_sample : config.sample_tokens;
  if (corpus.level() == TokenUnit::word && ranks->leads())
    for (const char* split : {"train", "dev", "test"})
      o.run.unknown_shares.push_back(unknown_share(corpus.split(split), corpus.vocabulary));
  std::optional<AllocationBudget> budget;
  if (checkpoint)
    budget.emplace(bytes_to_restore(*checkpoint, config),
                   "the run's configuration describes a larger model than its checkpoint holds");
  Trainer trainer(config, corpus.split("train"), corpus.vocabulary, device, ranks);
  budget.reset();
  if (teacher.model) trainer.set_teacher(std::move(teacher));
  trainer.set_reduce(reduce_named(o.ranks.reduce));
  trainer.check_nan(o.check_nan);
  trainer.use_graph(!o.eager);
  if (o.run.peak_tflops == 0) o.run.peak_tflops = peak_tflops(cuda_status().name, trainer.precision());
  if (checkpoint) trainer.restore(*checkpoint);
  print_start(trainer, corpus, folder, o.ranks.reduce, o.run.unknown_shares);
  if (ranks->leads()) write_run_facts(folder, trainer, o.command);
  if (o.find_lr > 0) return search_rate(trainer, o.run);
  if (run_training(trainer, corpus, o.run) == RunEnd::stopped_by_signal)
    throw StoppedBySignal("stopped before the end");
}

void resume(const Flags& flags, TrainOptions& o, Device device, const std::shared_ptr<Ranks>& ranks) {
  check_resume_flags(flags);
  std::optional<RunFolder> folder;
  Checkpoint checkpoint;
  if (ranks->leads()) {
    const fs::path path = resume_path(o);
    if (!o.dump_config) {
      folder.emplace(resumed_folder(o, path));
      say(fmt::format("resuming from {}\n", path.string()));
    }
    checkpoint = load_checkpoint(path.string());
  }
  checkpoint = broadcast_checkpoint(*ranks, std::move(checkpoint));
  RunConfig config = RunConfig::from_text(checkpoint.run_config);
  check_same_kind(flags, o, config);
  if (!is_restart()) check_resume_file(flags, o, config);
  override_duties(config, o);
  if (o.dump_config) return fmt::print("{}", config_text(config, flags));
  use_run(o.corpus, config);
  if (config.level == TokenUnit::subword) o.corpus.vocabulary = checkpoint.vocabulary;  // is not learnt again
  const Corpus corpus = load_corpus_with_progress(o.corpus);
  TANDEM_CHECK(corpus.sha256 == config.corpus_sha256, "resume: the run was on {} with sha256 {}; {} has {}",
               config.corpus, config.corpus_sha256, corpus.source, corpus.sha256);
  config.precision = resolve_precision(config.precision, device);
  if (!o.teacher.empty() && !is_restart()) {
    if (config.distillation.weight == 0)
      throw UsageError("--resume: the run has no teacher; leave --teacher out");
    config.distillation.teacher = o.teacher;
  }
  Teacher teacher = teacher_of(config, device);
  train_in(folder ? folder->path() : fs::path(), config, corpus, o, std::move(teacher), device, &checkpoint,
           ranks);
}

void begin(const Flags& flags, TrainOptions& o, Device device, const std::shared_ptr<Ranks>& ranks) {
  preset(o.model, o.preset);  // reports a wrong name before any download
  if (!o.teacher.empty() && o.distill_weight.value_or(1) != 0 && !o.dump_config)
    check_teacher_file(o.teacher);  // and so does this
  std::optional<RunFolder> folder;
  const bool trains = !o.describe && !o.dump_config;
  if (!o.out.empty() && trains && ranks->leads()) folder.emplace(RunFolder::make(o.out));
  const Corpus corpus = load_corpus_with_progress(o.corpus);
  RunConfig config = new_run(o, corpus, device, *ranks);
  if (o.dump_config) return fmt::print("{}", config_text(config, flags));
  if (!o.teacher.empty() && config.distillation.weight == 0 && !o.describe)
    say("note: --distill-weight=0: the run trains without the teacher\n");
  Teacher teacher = teacher_of(config, o.describe ? Device::cpu() : device);
  if (o.describe)
    return print_description(config, *make_model(config.model_config, config.seed), teacher.model.get(),
                             corpus, device);
  if (!folder && ranks->leads())
    folder.emplace(RunFolder::make_new(kRuns, run_name(o) + (o.find_lr > 0 ? "-find-lr" : "")));
  train_in(folder ? folder->path() : fs::path(), config, corpus, o, std::move(teacher), device, nullptr,
           ranks);
}

void train(const Flags& flags, TrainOptions& o, const std::shared_ptr<Ranks>& ranks) {
  if (!o.level.empty()) o.corpus.level = token_unit_named(o.level);
  o.preset = preset_for_corpus(o.model, o.preset, o.corpus.name_or_path);
  if (!o.max_time.empty()) o.run.max_seconds = parse_time("--max-time", o.max_time);
  choose_own_gpu(*ranks);
  const Device device = resolve_device(o.device);
  const std::string cores = share_cores(*ranks);
  if (!cores.empty()) say(cores + "\n");
  if (is_restart()) {  // there may be no checkpoint yet
    const bool found = ranks->leads() && fs::exists(fs::path(o.out) / kLastCheckpoint);
    o.resume.reset();
    if (ranks->largest(found) != 0) o.resume = "";
  }
  if (o.resume)
    resume(flags, o, device, ranks);
  else
    begin(flags, o, device, ranks);
}

}  // namespace

int train_main(int argc, char** argv, const TrainDefaults& defaults) {
  Flags flags(
      program_name(argv),
      "Trains a language model on a corpus. `{program} gcide` needs no network; `{program} enwik8` downloads it once.",
      kTrainManual);
  TrainOptions options;
  options.model = defaults.model;
  options.preset = defaults.preset;
  options.run.log_every = 0;  // chosen by the number of steps
  try {
    add_train_flags(flags, options);  // names the registered models
  } catch (const Error& error) {
    return report_failure(error.what());
  }
  return run_main(flags, argc, argv, [&flags, &options, argc, argv] {
    outlive_reader();
    std::vector<std::string> arguments = flags.arguments();
    options.command = {program_name(argv)};
    options.command.insert(options.command.end(), argv + 1, argv + argc);
    // The number of shards must not follow that of the ranks that are left after a failure.
    if (options.ranks.ranks && !options.ranks.shards && !options.resume)
      arguments.push_back(fmt::format("--shards={}", *options.ranks.ranks));
    run_on_ranks(options.ranks, options.out, arguments,
                 [&flags, &options](const std::shared_ptr<Ranks>& ranks) { train(flags, options, ranks); });
    // The page is another program's, which a rank may start only after the end of MPI.
    if (options.find_lr > 0 && !options.run.folder.empty()) write_report(options.run.folder);
  });
}

}  // namespace tandem
