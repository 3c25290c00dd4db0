// evaluate: the bits per character, or the perplexity, of a model over a text.
#include <CLI/CLI.hpp>
#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "models/training/evaluation.h"
#include "models/training/score.h"
#include "tools/run/cli.h"
#include "tools/run/model_options.h"

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

// The checkpoint's vocabulary, and for the text it was trained on its fractions: the same tokens are held
// out.
Corpus load_text(CLI::App& app, CorpusOptions options, const std::string& split, const LoadedModel& loaded,
                 ProgressLine& line) {
  options.vocabulary = loaded.vocabulary;
  const bool own = loaded.run && loaded.run->corpus == options.name_or_path;
  if (own) options.words = loaded.run->words;
  if (!has_own_split(options.name_or_path) &&
      app.count("--valid-fraction") + app.count("--test-fraction") == 0) {
    if (own) {
      options.valid_fraction = loaded.run->valid_fraction;
      options.test_fraction = loaded.run->test_fraction;
    } else if (split == "all") {
      options.valid_fraction = options.test_fraction = 0;  // any length will do
    }
  }
  options.progress = corpus_progress(line);
  Corpus corpus = load_corpus(options);
  line.clear();
  return corpus;
}

std::string progress_text(TokenUnit level, const Evaluation& so_far, int64_t symbols) {
  const double share = static_cast<double>(so_far.symbols) / static_cast<double>(symbols);
  return fmt::format("{:.0f} %  {}  {:.0f} symbols/s  ETA {}", 100 * share,
                     score_text(level, so_far.mean_nats()),
                     static_cast<double>(so_far.symbols) / so_far.seconds,
                     duration_text(so_far.seconds * (1 - share) / share));
}

void print_json(const Options& options, TokenUnit level, const EvaluationOptions& evaluation,
                const Evaluation& result) {
  nlohmann::ordered_json json;
  json["checkpoint"] = options.model.checkpoint;
  json["corpus"] = options.corpus.name_or_path;
  json["split"] = options.split;
  json["precision"] = options.model.precision;
  json["window"] = evaluation.window;
  json["memory"] = evaluation.context().memory;
  json["clamp"] = evaluation.clamp;
  json["batch_size"] = evaluation.batch_size;
  json[score_name(level)] = score(level, result.mean_nats());
  json["nats"] = result.mean_nats();
  json["total_nats"] = result.total_nats;
  json["symbols"] = result.symbols;
  json["dropped"] = result.dropped;
  json["seconds"] = result.seconds;
  json["symbols_per_second"] = static_cast<double>(result.symbols) / result.seconds;
  std::cout << json.dump(2) << std::endl;
}

void print_text(TokenUnit level, const EvaluationOptions& evaluation, const Evaluation& result) {
  std::cout << fmt::format(
                   "{}: {:.6f}\n"
                   "nats: {:.6f} a symbol\n"
                   "symbols: {} scored, {} dropped\n"
                   "context: memory of {} tokens, segments of {} (the first has none before it)\n"
                   "time: {:.2f} s, {:.0f} symbols/s",
                   score_name(level), score(level, result.mean_nats()), result.mean_nats(),
                   with_commas(result.symbols), result.dropped, evaluation.context().memory,
                   evaluation.window, result.seconds, static_cast<double>(result.symbols) / result.seconds)
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
  const TokenUnit level = corpus.level();
  Tokens tokens = corpus.split(options.split);
  if (options.limit > 0) tokens = tokens.first(std::min(tokens.size(), options.limit));
  CHECK(tokens.size() >= 2,
        "{}: {} {} in {} leave nothing to predict; choose another --split or a higher --limit", corpus.source,
        tokens.size(), tokens_name(level), options.split);
  if (!options.json)
    std::cout << device_line(device) << '\n'
              << model_line(loaded, options.model) << '\n'
              << fmt::format("text: {}, {}: {} {}", corpus.source, options.split, with_commas(tokens.size()),
                             tokens_name(level))
              << std::endl;

  const Evaluation result =
      evaluate(*loaded.model, tokens, evaluation, [&line, level](const Evaluation& so_far, int64_t symbols) {
        if (line.due()) line.show(progress_text(level, so_far, symbols));
      });
  line.clear();
  CHECK(std::isfinite(result.total_nats), "{}: the losses are not finite ({}); the model has diverged",
        options.model.checkpoint, result.total_nats);
  options.json ? print_json(options, level, evaluation, result) : print_text(level, evaluation, result);
}

}  // namespace
}  // namespace tandem

int main(int argc, char** argv) {
  using namespace tandem;
  limit_openmp_spinning(argv);
  CLI::App app(
      "Scores a text with a model: bits per character, or perplexity of "
      "words; state and memory are carried over all of it.",
      "evaluate");
  Options options;
  add_model_options(app, options.model);
  app.add_option("--corpus", options.corpus.name_or_path, kCorpusNames)->required();
  app.add_option("--split", options.split, "train, dev, test, or all: the whole file")
      ->check(CLI::IsMember({"train", "dev", "test", "all"}))
      ->capture_default_str();
  app.add_option("--batch-size", options.batch_size,
                 "columns the text is cut into; each starts without context, so only 1 is exact")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_option("--limit", options.limit, "score only the first tokens of the split")
      ->check(CLI::PositiveNumber);
  add_corpus_options(app, options.corpus);
  app.add_flag("--json", options.json, "print one JSON object instead");
  return run_main(app, argc, argv, [&app, &options] { run(app, options); });
}
