// explore_main(): loads a model and a text, and writes a page about what the model does with it.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "tandem/core/atomic_file.h"
#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/models/config_fields.h"
#include "tandem/models/training/exploration.h"
#include "tandem/models/training/score.h"
#include "tandem/tools/run/checkpoint_text.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/explore_page.h"
#include "tandem/tools/run/model_options.h"
#include "tandem/tools/run/programs.h"

namespace tandem {
namespace {

struct Options {
  ModelOptions model;
  CorpusOptions text;
  std::string out;
  int64_t tokens = 256;
  int64_t skip = 0;
  ExplorePage page;
};

// Loads the text. All of it is read, so another text than that of training needs no dev and test part.
Corpus load_text(CorpusOptions options, const LoadedModel& loaded) {
  if (!has_own_split(options.name_or_path)) options.valid_fraction = options.test_fraction = 0;
  return load_text_for_model(options, loaded.vocabulary, loaded.run ? &*loaded.run : nullptr);
}

// Returns the tokens from options.skip on, at most options.tokens of them, and tells what was left out.
std::vector<int32_t> chosen_tokens(const Options& options, const Corpus& corpus) {
  const Tokens all = corpus.split("all");
  const char* unit = tokens_name(corpus.level());
  const std::string name = printable(corpus.name), size = with_commas(all.size());
  TANDEM_CHECK(all.size() >= 2, "{}: {} {} leave nothing to predict; give a text of two or more", name, size,
               unit);
  TANDEM_CHECK(all.size() - options.skip >= 2,
               "{}: --skip={} leaves nothing to predict of {} {}; skip {} at most", name, options.skip, size,
               unit, all.size() - 2);
  const int64_t end = std::min(all.size(), options.skip + options.tokens);
  std::vector<int32_t> tokens;
  for (int64_t i = options.skip; i < end; ++i) tokens.push_back(all[i]);
  if (end - options.skip < all.size())
    std::cerr << fmt::format(
        "note: {} of the {} {} of {} are read, from number {} on; --tokens and --skip choose others\n",
        with_commas(end - options.skip), size, unit, name, options.skip);
  if (corpus.trained) std::cerr << "note: the model was trained on this text\n";
  return tokens;
}

// Returns the sentences above the text.
std::string facts_of(const Options& options, const LoadedModel& loaded, const Corpus& corpus,
                     const Exploration& exploration, const std::string& score) {
  const auto segments = static_cast<int64_t>(exploration.segments.size());
  return fmt::format(
      "Model: {}. Text: {}, {} {} from number {} on, in {} segment{}; {} over the {} that are predicted.{}",
      model_facts(loaded, options.model), escaped_utf8(corpus.name),
      with_commas(static_cast<int64_t>(exploration.tokens.size())), tokens_name(corpus.level()), options.skip,
      segments, segments == 1 ? "" : "s", score,
      with_commas(static_cast<int64_t>(exploration.predictions.size())),
      corpus.trained ? " The model was trained on this text." : "");
}

void run(Options& options) {
  const Device device = options.model.resolved_device();
  const PrecisionScope precision(options.model.products(), device);
  const LoadedModel loaded = options.model.load();
  const EvaluationOptions evaluation = options.model.evaluation_for(loaded);
  const Corpus corpus = load_text(options.text, loaded);
  const std::vector<int32_t> tokens = chosen_tokens(options, corpus);
  std::cout << device_line(device) << '\n' << model_line(loaded, options.model) << std::endl;

  const Tokens text(tokens, loaded.vocabulary.size());
  const Exploration exploration = explore(*loaded.model, text, evaluation);
  const Evaluation result{.total_nats = exploration.total_nats(),
                          .symbols = static_cast<int64_t>(exploration.predictions.size())};
  const int64_t bytes = scored_bytes(result, text, loaded.vocabulary);
  options.page.facts =
      facts_of(options, loaded, corpus, exploration, score_text(corpus.level(), result, bytes));
  options.page.title = escaped_utf8(std::filesystem::path(corpus.name).filename().string()) + " read by " +
                       model_of_config(loaded.model->config());
  write_file_atomically(options.out, explore_page(exploration, loaded.vocabulary, options.page));
  const std::string per_byte =
      corpus.level() == TokenUnit::subword
          ? fmt::format("bpb: {:.6f}, of {} bytes\n", bits_per_byte(result, bytes), with_commas(bytes))
          : "";
  std::cout << fmt::format(
                   "{}: {:.6f} over {} {}\n{}"
                   "values: {} of attention, {} over time, {} numbers\n"
                   "page: {}",
                   score_name(corpus.level()), score(corpus.level(), result.mean_nats()),
                   with_commas(result.symbols), tokens_name(corpus.level()), per_byte,
                   exploration.attention.size(), exploration.series.size(), exploration.numbers.size(),
                   printable(options.out))
            << std::endl;
}

constexpr const char* kManual =
    R"(Examples:
  {program} runs/gcide-laptop/best.safetensors --text=letter.txt --out=letter.html
  {program} runs/gcide-laptop/best.safetensors --text=gcide --skip=1000000 --tokens=512 --window=128 --out=page.html

The page is one file for any browser, without a server or a network: the text coloured by surprise;
for each token its probability, its rank, its bits and the ten likeliest tokens in its place and after
it; attention of each layer and head as arcs over the text and as a matrix, with what comes from memory
in another colour, and its entropy and reach by head; gates and states of recurrences over time; alpha
of every layer of SRU++. What a model does not have, its page does not show.

The text is read as evaluate reads it, in segments of --window tokens with state and memory carried
over, so that the bits are those that evaluate adds up over the same tokens. A small --window shows
memory at work. The page grows with tokens times keys times heads and layers.

Layers of other projects are shown too, if they offer values to a tap (tandem/core/tap.h).)";

}  // namespace

int explore_main(int argc, char** argv) {
  Flags flags(program_name(argv), "Writes a page about what a model does with a text, token by token.",
              kManual);
  Options options;
  add_model_flags(flags, options.model, "checkpoint");
  flags.add("--text", options.text.name_or_path, kCorpusNames).required();
  flags.add("--out", options.out, "The page, PAGE.html.").required();
  flags.add("--tokens", options.tokens, "Number of tokens that are read at most.")
      .range(2, 4096)
      .show_default();
  flags.add("--skip", options.skip, "Number of tokens of the text before the first that is read.")
      .non_negative()
      .show_default();
  flags
      .add("--units", options.page.units,
           "Number of units that the page keeps of each gate and state, the first ones.")
      .positive()
      .show_default();
  add_download_flags(flags, options.text);
  add_verify_flag(flags);
  return run_main(flags, argc, argv, [&options] { run(options); });
}

}  // namespace tandem
