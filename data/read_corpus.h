// The parts of load_corpus(): read a text as bytes, subwords or words, split it, and recognise it as the one of a training run.
#pragma once
#include <filesystem>
#include <vector>

#include "tandem/data/corpus.h"

namespace tandem {

// A text in a file, and where its split comes from.
struct TextPlace {
  std::filesystem::path path;
  const CorpusSpec* spec;                    // null: the split is by fractions
  const std::vector<CorpusSpec>& published;  // rows whose split a text by its path may have had in training
};

// Error: a fraction outside [0, 1), or two that leave nothing to train on.
void check_fractions(const CorpusOptions& options);
bool default_fractions(const CorpusOptions& options);

// Fill `corpus` but its name. If the text is that of options.trained, they put the split and the limits that it had in
// training into `options`. Errors: as load_corpus().
void read_bytes(Corpus& corpus, CorpusOptions& options, TextPlace place);
void read_subwords(Corpus& corpus, CorpusOptions& options, const TextPlace& place);
void read_words(Corpus& corpus, CorpusOptions& options, const TextPlace& place);
void read_benchmark(Corpus& corpus, CorpusOptions& options, const WordCorpusSpec& spec);

}  // namespace tandem
