// A trained checkpoint that the tests of prune and quantize compress: a small run on a text of its own.
#pragma once
#include <string>

#include "tandem/data/corpus.h"
#include "tests/support/data_files.h"
#include "tests/support/small_run.h"

namespace tandem::testing {

// Writes FOLDER/text and FOLDER/model.safetensors, and returns the latter's path.
inline std::string write_small_run(const TempDir& folder) {
  const std::vector<uint8_t> bytes = random_text(6000);
  const std::string text = folder / "text", path = folder / "model.safetensors";
  write_text(text, std::string(bytes.begin(), bytes.end()));
  CorpusOptions options;
  options.name_or_path = text;
  const Corpus corpus = load_corpus(options);
  RunConfig config = small_run();
  config.corpus = text;
  config.corpus_sha256 = corpus.sha256;
  Trainer trainer(config, corpus.split("train"), corpus.vocabulary);
  losses(trainer, 5);
  save_checkpoint(path, trainer.weights());
  return path;
}

}  // namespace tandem::testing
