// Loading the text of a model.
#include "tandem/tools/run/checkpoint_text.h"

#include "tandem/core/check.h"
#include "tandem/tools/run/cli.h"

namespace tandem {
namespace {

CorpusOptions options_for_model(CorpusOptions options, const Vocabulary& vocabulary, const RunConfig* run) {
  options.vocabulary = vocabulary;
  if (!run) return options;
  if (options.name_or_path.empty()) options.name_or_path = run->corpus;
  options.trained = TrainedText{.corpus_sha256 = run->corpus_sha256,
                                .text_sha256 = run->text_sha256,
                                .valid_fraction = run->valid_fraction,
                                .test_fraction = run->test_fraction,
                                .words = run->words};
  return options;
}

}  // namespace

Corpus load_text_for_model(const CorpusOptions& options, const Vocabulary& vocabulary, const RunConfig* run) {
  CorpusOptions all = options_for_model(options, vocabulary, run);
  ProgressLine line;
  all.progress = corpus_progress(line);
  return load_corpus(all);
}

Corpus load_trained_text(const CorpusOptions& options, const Vocabulary& vocabulary, const RunConfig& run) {
  Corpus corpus = load_text_for_model(options, vocabulary, &run);
  TANDEM_CHECK(corpus.trained,
               "the model was trained on {} with sha256 {}; {} has {}; name the text with --corpus",
               run.corpus, run.text_sha256.empty() ? run.corpus_sha256 : run.text_sha256, corpus.source,
               run.text_sha256.empty() ? corpus.sha256 : corpus.text_sha256);
  return corpus;
}

}  // namespace tandem
