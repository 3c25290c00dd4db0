// train: trains a language model on a corpus, from a preset, and says how well it does on text it has not
// seen.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "core/backend.h"
#include "core/check.h"
#include "models/presets.h"
#include "models/registry.h"
#include "tools/run/cli.h"
#include "tools/run/device.h"
#include "tools/run/training_run.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDefaultModel = "srupp";

struct Options {
  CorpusOptions corpus;
  std::string model = kDefaultModel;
  std::string preset = "laptop";
  std::vector<std::string> set;  // FIELD=VALUE of the model's configuration
  std::string precision = "auto";
  std::string device = "auto";
  std::string out;
  std::optional<std::string> resume;
  RunOptions run;
  std::string max_time;
  // What the preset says unless given.
  std::optional<int64_t> d, d_projected, layers, heads, attention_every, attention_last;
  std::optional<double> dropout, attention_dropout;
  std::optional<int64_t> batch_size, unroll, accumulate, eval_window, eval_batch_size, warmup, steps,
      eval_every;
  std::optional<double> lr, weight_decay, clip;
  std::optional<std::string> optimizer;
  std::optional<int64_t> eval_bytes, sample_tokens;
  uint64_t seed = 1234;
  bool recompute = false;
  bool eager = false;
  bool check_nan = false;
  bool describe = false;
  int64_t max_skipped = 10;
};

void add_options(CLI::App& app, Options& o) {
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("corpus", o.corpus.name_or_path, kCorpusNames)->required();
  add_corpus_options(app, o.corpus);
  app.add_option_function<std::string>(
         "--level", [&o](const std::string& name) { o.corpus.level = token_unit_named(name); },
         "what a token is: byte, or word [word of benchmarks of words, else byte]")
      ->check(CLI::IsMember({"byte", "word"}));
  app.add_option("--vocab-size", o.corpus.words.size,
                 "of words: the most frequent ones, <unk> and <eos> among them, <unk> for the rest [all]")
      ->check(CLI::PositiveNumber);
  app.add_option("--min-count", o.corpus.words.min_count, "of words: those that occur so often in train")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--model", o.model, "what is trained")
      ->check(CLI::IsMember(model_names()))
      ->capture_default_str();
  std::string presets = "sizes and recipe";
  for (const std::string& name : model_names())
    presets += fmt::format("; {}: {}", name, fmt::join(preset_names(name), ", "));
  app.add_option("--preset", o.preset, presets)->capture_default_str();
  app.add_option(
         "--precision", o.precision,
         "of matrix products, and on a GPU of activations: f32, tf32 (GPUs), bf16, or auto: bf16 where the device has it")
      ->check(CLI::IsMember({"auto", "f32", "tf32", "bf16"}))
      ->capture_default_str();
  add_device_option(app, o.device);
  app.add_flag("--eager", o.eager, "on a GPU, run each operator by itself and not a step as one CUDA graph");
  app.add_option("--peak-tflops", o.run.peak_tflops,
                 "of the device in this precision, for the MFU [by the GPU's name, where it is known]")
      ->check(CLI::PositiveNumber);
  app.add_option("--seed", o.seed, "of initialisation and dropout")->capture_default_str();
  app.add_flag("--recompute", o.recompute,
               "keep each layer's input only, and run the layer again in backward");

  app.add_option("--out", o.out, "folder of the run; default: a new runs/CORPUS-PRESET");
  app.add_option("--resume", o.resume,
                 "go on from a run's folder or checkpoint; without a value: the latest run here")
      ->expected(0, 1);
  app.add_option("--max-steps", o.run.max_steps,
                 "stop after this many steps in all; the schedule stays the recipe's")
      ->check(CLI::PositiveNumber);
  app.add_option("--max-time", o.max_time, "stop after so long: 90s, 10m, 8h");
  app.add_option("--log-every", o.run.log_every, "steps between progress lines")->check(CLI::PositiveNumber);
  app.add_option("--sample-bytes,--sample-tokens", o.sample_tokens,
                 "length of the sample at the end; 0: none [400 bytes, 80 words]")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--eval-every", o.eval_every, "steps between evaluations")->check(CLI::PositiveNumber);
  app.add_option("--eval-bytes,--eval-tokens", o.eval_bytes,
                 "of the dev split scored during training; 0: all")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("!--no-test", o.run.test, "leave out the test split at the end");
  app.add_flag("--describe", o.describe,
               "print the model's size and the cost of a step as JSON, and train nothing");
  app.add_flag("--check-nan", o.check_nan,
               "check every output and gradient; stop at the first operator whose is not finite and name it");
  app.add_option("--max-skipped", o.max_skipped, "non-finite steps in a row before the run stops")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();

  const char* model = "Model";
  app.add_option("--d", o.d, "width of the stream")->group(model);
  app.add_option("--d-projected", o.d_projected, "width of attention, d'")->group(model);
  app.add_option("--layers", o.layers, "number of layers")->group(model);
  app.add_option("--heads", o.heads, "attention heads")->group(model);
  app.add_option("--attention-every", o.attention_every, "every k-th layer attends; 0: see --attention-last")
      ->group(model);
  app.add_option("--attention-last", o.attention_last, "the last n layers attend")->group(model);
  app.add_option("--dropout", o.dropout)->group(model);
  app.add_option("--attention-dropout", o.attention_dropout)->group(model);
  app.add_option("--set", o.set, "FIELD=VALUE: any other field of the configuration that `model:` prints")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(model);

  const char* recipe = "Recipe";
  app.add_option("--batch-size", o.batch_size, "rows")->group(recipe);
  app.add_option("--unroll", o.unroll, "time steps a segment, and memory length")->group(recipe);
  app.add_option("--accumulate", o.accumulate, "segments averaged into one update")->group(recipe);
  app.add_option("--eval-window", o.eval_window, "segment length in evaluation; window + 1 keys are visible")
      ->group(recipe);
  app.add_option("--eval-batch-size", o.eval_batch_size, "rows in evaluations during training")
      ->group(recipe);
  app.add_option("--optimizer", o.optimizer, "radam, adamw, lamb or nag")->group(recipe);
  app.add_option("--lr", o.lr, "peak learning rate")->group(recipe);
  app.add_option("--warmup", o.warmup, "updates of linear warm-up")->group(recipe);
  app.add_option("--steps", o.steps, "updates of the whole schedule")->group(recipe);
  app.add_option("--weight-decay", o.weight_decay)->group(recipe);
  app.add_option("--clip", o.clip, "global gradient norm")->group(recipe);
}

double parse_time(const std::string& text) {
  size_t used = 0;
  double value = -1;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
  }
  const std::string unit = text.substr(std::min(used, text.size()));
  const double scale = unit.empty() || unit == "s" ? 1 : unit == "m" ? 60 : unit == "h" ? 3600 : 0;
  if (!(value > 0) || scale == 0)
    throw UsageError("--max-time: " + text + " is not a time; give 90s, 10m or 8h");
  return value * scale;
}

template <class T>
void override_field(T& field, const std::optional<T>& given) {
  if (given) field = *given;
}

void override_recipe(Recipe& recipe, const Options& o) {
  override_field(recipe.batch_size, o.batch_size);
  override_field(recipe.unroll, o.unroll);
  override_field(recipe.accumulate, o.accumulate);
  override_field(recipe.eval_window, o.eval_window);
  override_field(recipe.eval_batch_size, o.eval_batch_size);
  override_field(recipe.optimizer, o.optimizer);
  override_field(recipe.lr, o.lr);
  override_field(recipe.warmup, o.warmup);
  override_field(recipe.steps, o.steps);
  override_field(recipe.weight_decay, o.weight_decay);
  override_field(recipe.clip, o.clip);
  override_field(recipe.eval_every, o.eval_every);
  override_field(recipe.eval_bytes, o.eval_bytes);
}

std::string override_model(const std::string& preset, int64_t vocabulary, const Options& o) {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(preset);
  for (const std::string& assignment : o.set) {
    const size_t at = assignment.find('=');
    if (at == std::string::npos || at == 0) throw UsageError("--set: " + assignment + " is not FIELD=VALUE");
    const std::string value = assignment.substr(at + 1);
    const auto parsed = nlohmann::ordered_json::parse(value, nullptr, false);
    json[assignment.substr(0, at)] = parsed.is_discarded() ? nlohmann::ordered_json(value) : parsed;
  }
  const auto set = [&json](const char* name, const auto& given) {
    if (given) json[name] = *given;
  };
  set("d", o.d);
  set("d_projected", o.d_projected);
  set("layers", o.layers);
  set("heads", o.heads);
  // One way to place attention replaces the other.
  if (o.attention_every || o.attention_last) {
    json["attention_every"] = o.attention_every.value_or(0);
    json["attention_last"] = o.attention_last.value_or(0);
  }
  set("dropout", o.dropout);
  set("attention_dropout", o.attention_dropout);
  json["vocabulary"] = vocabulary;
  return json.dump();
}

// "runs/gcide-laptop", "runs/gcide-sru-laptop", then -2, -3, ...: a run never writes over another.
fs::path default_folder(const Options& o, bool existing) {
  std::string stem = fs::path(o.corpus.name_or_path).filename().string();
  if (o.model != kDefaultModel) stem += "-" + o.model;
  stem += "-" + o.preset;
  fs::path latest;
  for (int i = 1;; ++i) {
    const fs::path folder = fs::path("runs") / (i == 1 ? stem : fmt::format("{}-{}", stem, i));
    if (!fs::exists(folder)) return existing ? latest : folder;
    if (fs::exists(folder / kLastCheckpoint)) latest = folder;
  }
}

fs::path resume_path(const Options& o) {
  fs::path path = !o.resume->empty() ? fs::path(*o.resume)
                  : !o.out.empty()   ? fs::path(o.out)
                                     : default_folder(o, true);
  CHECK(!path.empty(),
        "--resume: there is no run of {} with model {} and preset {} under runs/; give its folder",
        o.corpus.name_or_path, o.model, o.preset);
  return fs::is_directory(path) ? path / kLastCheckpoint : path;
}

RunConfig new_run(const Options& o, const Corpus& corpus, Device device) {
  const Preset chosen = preset(o.model, o.preset);
  RunConfig config;
  config.corpus = o.corpus.name_or_path;
  config.corpus_sha256 = corpus.sha256;
  config.level = corpus.level();
  config.words = o.corpus.words;
  config.valid_fraction = o.corpus.valid_fraction;
  config.test_fraction = o.corpus.test_fraction;
  config.preset = o.preset;
  config.recipe = chosen.recipe;
  override_recipe(config.recipe, o);
  config.model_config = override_model(chosen.model_config, corpus.vocabulary.size(), o);
  config.precision = resolve_precision(o.precision, device);
  config.seed = o.seed;
  config.recompute = o.recompute;
  config.max_skipped = o.max_skipped;
  return config;
}

void print_start(const RunConfig& config, const Trainer& trainer, const Corpus& corpus,
                 const fs::path& folder) {
  fmt::print("{}\n", device_line(trainer.device()));
  fmt::print("corpus: {}, {} {} (train {}, dev {}, test {}), {} symbols, sha256 {}\n", corpus.source,
             with_commas(corpus.size()), tokens_name(corpus.level()), with_commas(corpus.train.size()),
             with_commas(corpus.dev.size()), with_commas(corpus.test.size()),
             with_commas(corpus.vocabulary.size()), corpus.sha256.substr(0, 16));
  fmt::print("model: {} parameters, {}\n", with_commas(trainer.model().parameter_count()),
             trainer.model().config());
  const Recipe& r = config.recipe;
  fmt::print(
      "recipe: preset {}, {} steps of {} x {} x {}, {} lr {:g}, warm-up {}, weight decay {:g}, clip {:g}, "
      "precision {}, seed {}{}\n",
      config.preset, r.steps, r.accumulate, r.batch_size, r.unroll, r.optimizer, r.lr, r.warmup,
      r.weight_decay, r.clip, config.precision, config.seed, config.recompute ? ", recompute" : "");
  fmt::print("run: {}\n", folder.string());
  std::fflush(stdout);
}

// What a step of this run is, for programs that plan runs.
void print_description(const RunConfig& config, const LanguageModel& model) {
  const Recipe& r = config.recipe;
  const auto tokens = static_cast<double>(r.accumulate * r.batch_size * r.unroll);
  const nlohmann::ordered_json json = {
      {"model", nlohmann::ordered_json::parse(config.model_config)},
      {"parameters", model.parameter_count()},
      {"batch_size", r.batch_size},
      {"unroll", r.unroll},
      {"tokens_per_step", tokens},
      {"flops_per_step", tokens * 3 * model.forward_flops(r.unroll, r.memory < 0 ? r.unroll : r.memory)},
      {"steps", r.steps},
      {"warmup", r.warmup},
      {"level", name_of(config.level)}};
  fmt::print("{}\n", json.dump());
}

// A resumed run is the run that was begun: what shapes it cannot be given again, and is not silently ignored.
void check_resume_options(const CLI::App& app) {
  const std::set<std::string> allowed = {"corpus",      "--model",     "--preset",       "--resume",
                                         "--out",       "--max-steps", "--max-time",     "--log-every",
                                         "--url",       "--data-dir",  "--sample-bytes", "--device",
                                         "--check-nan", "--eager",     "--peak-tflops"};
  for (const CLI::Option* option : app.get_options())
    if (option->count() > 0 && !allowed.contains(option->get_name()))
      throw UsageError("--resume: " + option->get_name() + " was settled when the run began; leave it out");
}

void train(const CLI::App& app, Options& o) {
  if (o.resume) check_resume_options(app);
  o.preset = preset_for_corpus(o.model, o.preset, o.corpus.name_or_path);
  if (!o.max_time.empty()) o.run.max_seconds = parse_time(o.max_time);
  const Device device = resolve_device(o.device);
  std::optional<Checkpoint> checkpoint;
  if (o.resume) {
    const fs::path path = resume_path(o);
    checkpoint = load_checkpoint(path.string());
    o.run.folder = fs::absolute(path).parent_path();
    fmt::print("resuming from {}\n", path.string());
  } else {
    preset(o.model, o.preset);  // a wrong name is told before any download
    o.run.folder = o.out.empty() ? default_folder(o, false) : fs::path(o.out);
    CHECK(!fs::exists(o.run.folder / kLastCheckpoint),
          "{} holds a run already; --resume={} goes on with it, another --out keeps it",
          o.run.folder.string(), o.run.folder.string());
  }
  RunConfig config;
  if (checkpoint) {
    config = RunConfig::from_text(checkpoint->run_config);
    const std::string model = nlohmann::json::parse(config.model_config).at("model");
    CHECK(app.count("--model") == 0 || o.model == model, "--resume: the run is of the model {}, not {}",
          model, o.model);
    CHECK(app.count("--preset") == 0 || o.preset == config.preset, "--resume: the run has preset {}, not {}",
          config.preset, o.preset);
    o.corpus.level = config.level;
    o.corpus.words = config.words;
    o.corpus.valid_fraction = config.valid_fraction;
    o.corpus.test_fraction = config.test_fraction;
  }
  ProgressLine line;
  o.corpus.progress = corpus_progress(line);
  const Corpus corpus = load_corpus(o.corpus);
  line.clear();
  if (checkpoint) {
    CHECK(corpus.sha256 == config.corpus_sha256, "resume: the run was on {} with sha256 {}; {} has {}",
          config.corpus, config.corpus_sha256, corpus.source, corpus.sha256);
    config.precision = resolve_precision(config.precision, device);
  } else {
    config = new_run(o, corpus, device);
  }
  if (o.describe) return print_description(config, *make_model(config.model_config, config.seed));
  if (o.run.log_every == 0) o.run.log_every = std::max<int64_t>(1, config.recipe.steps / 50);

  o.run.sample_tokens = o.sample_tokens.value_or(corpus.level() == TokenUnit::byte ? 400 : 80);
  Trainer trainer(config, corpus.split("train"), corpus.vocabulary, device);
  trainer.check_nan(o.check_nan);
  trainer.use_graph(!o.eager);
  if (o.run.peak_tflops == 0) o.run.peak_tflops = peak_tflops(cuda_status().name, trainer.precision());
  if (checkpoint) trainer.restore(*checkpoint);
  checkpoint.reset();
  print_start(config, trainer, corpus, o.run.folder);
  if (run_training(trainer, corpus, o.run) == RunEnd::stopped_by_signal)
    throw Error("stopped before the end");
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  tandem::limit_openmp_spinning(argv);
  CLI::App app(
      "Trains a language model on a corpus: train gcide needs no network, train enwik8 downloads it once.",
      "train");
  tandem::Options options;
  options.run.log_every = 0;  // from the number of steps
  tandem::add_options(app, options);
  return tandem::run_main(app, argc, argv, [&app, &options] { tandem::train(app, options); });
}
