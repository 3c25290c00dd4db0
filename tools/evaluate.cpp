// evaluate: the bits per character of a model over a text.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "tools/support/cli.h"
#include "tools/support/evaluation.h"
#include "tools/support/model_options.h"

namespace tandem {
namespace {

struct Options {
  ModelOptions model;
  CorpusOptions corpus;
  std::string split = "test";
  int64_t batch_size = 1;
  int64_t limit = 0;
  bool json = false;
};

// The checkpoint's own fractions are the default for the text it was trained on: the same bytes are held out.
Corpus load_text(CLI::App& app, CorpusOptions options, const std::string& split, const LoadedModel& loaded,
                 ProgressLine& line) {
  const std::vector<CorpusSpec>& specs = downloadable_corpora();
  const bool fixed = std::any_of(specs.begin(), specs.end(), [&options](const CorpusSpec& spec) {
    return spec.name == options.name_or_path;
  });
  if (!fixed && app.count("--valid-fraction") + app.count("--test-fraction") == 0) {
    if (loaded.run && loaded.run->corpus == options.name_or_path) {
      options.valid_fraction = loaded.run->valid_fraction;
      options.test_fraction = loaded.run->test_fraction;
    }
    if (split == "all") options.valid_fraction = options.test_fraction = 0;  // any length will do
  }
  options.progress = corpus_progress(line);
  Corpus corpus = load_corpus(options);
  line.clear();
  return corpus;
}

std::string progress_text(const Evaluation& so_far, int64_t symbols) {
  const double share = static_cast<double>(so_far.symbols) / static_cast<double>(symbols);
  return fmt::format("{:.0f} %  {:.4f} bpc  {:.0f} symbols/s  ETA {}", 100 * share, so_far.bpc(),
                     static_cast<double>(so_far.symbols) / so_far.seconds,
                     duration_text(so_far.seconds * (1 - share) / share));
}

void print_json(const Options& options, const EvaluationOptions& evaluation, const Evaluation& result) {
  nlohmann::ordered_json json;
  json["checkpoint"] = options.model.checkpoint;
  json["corpus"] = options.corpus.name_or_path;
  json["split"] = options.split;
  json["precision"] = options.model.precision;
  json["window"] = evaluation.window;
  json["memory"] = evaluation.context().memory;
  json["clamp"] = evaluation.clamp;
  json["batch_size"] = evaluation.batch_size;
  json["bpc"] = result.bpc();
  json["nats"] = result.mean_nats();
  json["total_nats"] = result.total_nats;
  json["symbols"] = result.symbols;
  json["dropped"] = result.dropped;
  json["seconds"] = result.seconds;
  json["symbols_per_second"] = static_cast<double>(result.symbols) / result.seconds;
  std::cout << json.dump(2) << std::endl;
}

void print_text(const EvaluationOptions& evaluation, const Evaluation& result) {
  std::cout << fmt::format(
                   "bpc: {:.6f}\n"
                   "nats: {:.6f} a symbol\n"
                   "symbols: {} scored, {} dropped\n"
                   "context: memory of {} tokens, segments of {} (the first has none before it)\n"
                   "time: {:.2f} s, {:.0f} symbols/s",
                   result.bpc(), result.mean_nats(), with_commas(result.symbols), result.dropped,
                   evaluation.context().memory, evaluation.window, result.seconds,
                   static_cast<double>(result.symbols) / result.seconds)
            << std::endl;
}

void run(CLI::App& app, const Options& options) {
  const Device device = options.model.resolved_device();
  const PrecisionScope precision(options.model.products(), device);
  const LoadedModel loaded = options.model.load();
  EvaluationOptions evaluation = options.model.evaluation_for(loaded);
  evaluation.batch_size = options.batch_size;
  ProgressLine line;
  const Corpus corpus = load_text(app, options.corpus, options.split, loaded, line);
  std::span<const uint8_t> bytes = corpus.split(options.split);
  if (options.limit > 0) bytes = bytes.first(std::min(bytes.size(), static_cast<size_t>(options.limit)));
  CHECK(bytes.size() >= 2,
        "{}: {} bytes in {} leave nothing to predict; choose another --split or a higher --limit",
        corpus.source, bytes.size(), options.split);
  if (!options.json)
    std::cout << device_line(device) << '\n'
              << model_line(loaded, options.model) << '\n'
              << fmt::format("text: {}, {}: {} bytes", corpus.source, options.split,
                             with_commas(bytes.size()))
              << std::endl;

  const Evaluation result = evaluate(*loaded.model, loaded.vocabulary, bytes, evaluation,
                                     [&line](const Evaluation& so_far, int64_t symbols) {
                                       if (line.due()) line.show(progress_text(so_far, symbols));
                                     });
  line.clear();
  CHECK(std::isfinite(result.total_nats), "{}: the losses are not finite ({}); the model has diverged",
        options.model.checkpoint, result.total_nats);
  options.json ? print_json(options, evaluation, result) : print_text(evaluation, result);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  CLI::App app("Scores a text with a model: bits per character, state and memory carried over all of it.",
               "evaluate");
  Options options;
  add_model_options(app, options.model);
  app.add_option("--corpus", options.corpus.name_or_path, "gcide, enwik8, text8, or the path of any file")
      ->required();
  app.add_option("--split", options.split, "train, dev, test, or all: the whole file")
      ->check(CLI::IsMember({"train", "dev", "test", "all"}))
      ->capture_default_str();
  app.add_option("--batch-size", options.batch_size,
                 "columns the text is cut into; each starts without context, so only 1 is exact")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--limit", options.limit, "score only the first bytes of the split")
      ->check(CLI::PositiveNumber);
  add_corpus_options(app, options.corpus);
  app.add_flag("--json", options.json, "print one JSON object instead");
  return run_main(app, argc, argv, [&app, &options] { run(app, options); });
}
