// evaluate_main(): loads a model and a text, and prints the score.
#include <cmath>
#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "tandem/core/atomic_file.h"
#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/data/tokens.h"
#include "tandem/models/training/evaluation.h"
#include "tandem/models/training/score.h"
#include "tandem/tools/run/checkpoint_text.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/model_options.h"
#include "tandem/tools/run/programs.h"

namespace tandem {
namespace {

struct Options {
  ModelOptions model;
  CorpusOptions corpus;
  std::string split = "test";
  int64_t batch_size = 1;
  int64_t limit = 0;
  std::string log_probabilities;  // path; "": they are not written
  bool json = false;
};

// The text that the model was trained on is split as it was in training, so that the same tokens are held out, unless the
// user gives fractions.
Corpus load_text(const Flags& flags, CorpusOptions options, const std::string& split,
                 const LoadedModel& loaded) {
  options.split_anew = flags.given("--valid-fraction") || flags.given("--test-fraction");
  const bool whole = split == "all" && !has_own_split(options.name_or_path) && !options.split_anew;
  if (whole) options.valid_fraction = options.test_fraction = 0;  // a text of any length can be scored
  return load_text_for_model(options, loaded.vocabulary, loaded.run ? &*loaded.run : nullptr);
}

// Whether the text is split otherwise than in the training run.
bool is_split_anew(const Flags& flags, const CorpusOptions& options, const RunConfig& run) {
  const bool by_default =
      run.valid_fraction == kDefaultSplitFraction && run.test_fraction == kDefaultSplitFraction;
  return flags.given("--valid-fraction") || flags.given("--test-fraction") ||
         (has_own_split(options.name_or_path) && run.corpus != options.name_or_path && !by_default);
}

// Warns of figures that mean less than they seem to.
void print_warnings(const Corpus& corpus, const Tokens& tokens, bool split_anew) {
  if (corpus.trained && split_anew)
    std::cerr
        << "note: the model was trained on this text; split by other fractions, tokens that it was trained on may be "
           "scored as held out\n";
  const double unknown = unknown_share(tokens, corpus.vocabulary);
  if (unknown > 0) std::cerr << fmt::format("note: {:.2f} % of the tokens are <unk>\n", 100 * unknown);
}

// Opens the file of --log-probabilities. Error: it exists already, or cannot be written.
std::unique_ptr<AtomicFile> new_file(const std::string& path) {
  TANDEM_CHECK(!std::filesystem::exists(path), "--log-probabilities={}: the file exists; give another name",
               path);
  return std::make_unique<AtomicFile>(path);
}

// Writes the log-probability of each token, a line each, in digits that give back an f32.
void write_log_probabilities(AtomicFile& file, const Tensor& losses) {
  std::string lines;
  for (const double nats : losses.to(DType::f64).to_vector<double>())
    lines += fmt::format("{:.9g}\n", nats == 0 ? 0 : -nats);
  file.write(lines);
}

std::string progress_text(TokenUnit level, const Evaluation& so_far, int64_t symbols) {
  const double share = static_cast<double>(so_far.symbols) / static_cast<double>(symbols);
  return fmt::format("{:.0f} %  {}  {:.0f} symbols/s  ETA {}", 100 * share,
                     score_text(level, so_far.mean_nats()),
                     static_cast<double>(so_far.symbols) / so_far.seconds,
                     duration_text(so_far.seconds * (1 - share) / share));
}

void print_json(const Options& options, TokenUnit level, const EvaluationOptions& evaluation,
                const Evaluation& result, int64_t bytes) {
  nlohmann::ordered_json json;
  json["checkpoint"] = escaped_utf8(options.model.checkpoint);
  json["corpus"] = escaped_utf8(options.corpus.name_or_path);
  json["split"] = options.split;
  json["precision"] = options.model.precision;
  json["window"] = evaluation.window;
  json["memory"] = evaluation.context().memory;
  json["clamp"] = evaluation.clamp;
  json["batch_size"] = evaluation.batch_size;
  json[score_name(level)] = score(level, result.mean_nats());
  if (bytes > 0) json["bpb"] = bits_per_byte(result, bytes);
  json["nats"] = result.mean_nats();
  json["total_nats"] = result.total_nats;
  json["symbols"] = result.symbols;
  if (bytes > 0) json["bytes"] = bytes;
  json["dropped"] = result.dropped;
  json["seconds"] = result.seconds;
  json["symbols_per_second"] = static_cast<double>(result.symbols) / result.seconds;
  std::cout << json.dump(2) << std::endl;
}

void print_text(TokenUnit level, const EvaluationOptions& evaluation, const Evaluation& result,
                int64_t bytes) {
  const std::string per_byte =
      level == TokenUnit::subword
          ? fmt::format("bpb: {:.6f}, of {} bytes\n", bits_per_byte(result, bytes), with_commas(bytes))
          : "";
  std::cout << fmt::format(
                   "{}: {:.6f}\n{}"
                   "nats: {:.6f} a symbol\n"
                   "symbols: {} scored, {} dropped\n"
                   "context: memory of {} tokens, segments of {} (the first has none before it)\n"
                   "time: {:.2f} s, {:.0f} symbols/s",
                   score_name(level), score(level, result.mean_nats()), per_byte, result.mean_nats(),
                   with_commas(result.symbols), result.dropped, evaluation.context().memory,
                   evaluation.window, result.seconds, static_cast<double>(result.symbols) / result.seconds)
            << std::endl;
}

void run(const Flags& flags, const Options& options) {
  const Device device = options.model.resolved_device();
  const PrecisionScope precision(options.model.products(), device);
  const LoadedModel loaded = options.model.load();
  EvaluationOptions evaluation = options.model.evaluation_for(loaded);
  evaluation.batch_size = options.batch_size;
  const Corpus corpus = load_text(flags, options.corpus, options.split, loaded);
  const TokenUnit level = corpus.level();
  Tokens tokens = corpus.split(options.split);
  if (options.limit > 0) tokens = tokens.first(std::min(tokens.size(), options.limit));
  TANDEM_CHECK(tokens.size() >= 2,
               "{}: {} {} in {} leave nothing to predict; choose another --split or a higher --limit",
               corpus.source, tokens.size(), tokens_name(level), options.split);
  if (!options.json)
    std::cout << device_line(device) << '\n'
              << model_line(loaded, options.model) << '\n'
              << fmt::format("text: {}, {}: {} {}", corpus.source, options.split, with_commas(tokens.size()),
                             tokens_name(level))
              << std::endl;

  std::unique_ptr<AtomicFile> file;
  if (!options.log_probabilities.empty()) {
    file = new_file(options.log_probabilities);
    evaluation.on_losses = [&file](const Tensor& losses) { write_log_probabilities(*file, losses); };
  }
  print_warnings(corpus, tokens, loaded.run && is_split_anew(flags, options.corpus, *loaded.run));
  ProgressLine line;
  const Evaluation result =
      evaluate(*loaded.model, tokens, evaluation, [&line, level](const Evaluation& so_far, int64_t symbols) {
        if (line.due()) line.show(progress_text(level, so_far, symbols));
      });
  line.clear();
  TANDEM_CHECK(std::isfinite(result.total_nats), "{}: the losses are not finite ({}); the model has diverged",
               options.model.checkpoint, result.total_nats);
  if (file) file->commit();
  const int64_t bytes = scored_bytes(result, tokens, corpus.vocabulary);
  options.json ? print_json(options, level, evaluation, result, bytes)
               : print_text(level, evaluation, result, bytes);
}

constexpr const char* kManual =
    R"(Examples:
  {program} --checkpoint=runs/gcide-laptop/best.safetensors --corpus=gcide --split=test
  {program} --checkpoint=tests/golden/srupp/weights.safetensors --corpus=tests/golden/srupp/text.bin
      --split=all --window=32

Every token but the first of the split is scored. The cell state and the memory of attention are
carried from the first segment to the last, so that only the first segment begins without context. The
text that the checkpoint was trained on is known by its digest, whatever its name, and is split as
in training, unless --valid-fraction or --test-fraction is given; --split=all scores the whole file.

--batch-size=B cuts the text into B columns that are read side by side. That is faster, but each
column begins without context, and up to B - 1 tokens at the end are dropped (their number is
printed). Figures to report use 1.

A checkpoint of train brings its sizes, vocabulary and window. The SRU++ authors' weights are a
safetensors file with the tensor names of their PyTorch state_dict and the metadata `vocab`, the hex
of the byte values in the order of their ids; such a file needs --window, and --heads unless it has
one head. With --window=N the text is read in segments of N tokens, and a query of SRU++ attends to
N + 1 keys: its own and those of the N tokens before it.

A model of words or subwords prints its perplexity (`ppl`) in place of bits per character (`bpc`),
and reads any text by its own vocabulary. A model of subwords prints bits per byte (`bpb`), too: all
nats / ln 2 / the bytes of the tokens scored, which compares with the `bpc` of a model of bytes. With
--json both have `bpb`. A byte that a model of bytes has never seen is an error.)";

}  // namespace

int evaluate_main(int argc, char** argv) {
  Flags flags(program_name(argv),
              "Scores a text with a model, in bits per character or, of words and subwords, as perplexity.",
              kManual);
  Options options;
  add_model_flags(flags, options.model);
  flags.add("--corpus", options.corpus.name_or_path, kCorpusNames).required();
  flags.add("--split", options.split, "Part of the text that is scored; all is the whole file.")
      .one_of({"train", "dev", "test", "all"})
      .show_default();
  flags
      .add("--batch-size", options.batch_size,
           "Number of columns that the text is cut into. Each begins without context, so only 1 is exact.")
      .positive()
      .show_default();
  flags.add("--limit", options.limit, "Score only the first tokens of the split.").positive();
  flags.add("--log-probabilities", options.log_probabilities,
            "Write the natural logarithm of each scored token's probability to this file, a line each.");
  add_corpus_flags(flags, options.corpus);
  add_verify_flag(flags);
  flags.add_switch("--json", options.json, "Print one JSON object instead, with unrounded numbers.");
  return run_main(flags, argc, argv, [&flags, &options] {
    if (!options.log_probabilities.empty() && options.batch_size != 1)
      throw UsageError(fmt::format(
          "--log-probabilities needs the tokens in their order: --batch-size=1, not {}", options.batch_size));
    run(flags, options);
  });
}

}  // namespace tandem
