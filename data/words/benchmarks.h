// Benchmarks of words: where to download them, how they are split, and how many tokens they must have.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "tandem/data/words/build_token_file.h"

namespace tandem {

// One row of word_corpora().
struct WordCorpusSpec {
  std::string name;
  std::vector<DownloadSpec> files = {};  // archives (zip, tar, gzipped tar) or single files
  // The files, in the archives or alone, that make up train, dev and test: shell patterns, '*' for any
  // characters. Several files of one split follow each other by name. Equal patterns for dev and test make test
  // the same as dev.
  std::array<std::string, 3> parts = {};
  LineMarks marks = {};
  // The published vocabulary: one word a line, followed by its count; it contains the unknown word and the line
  // end.
  std::optional<DownloadSpec> word_list = {};
  // The published numbers of tokens in train, dev and test, marks included, and of words; 0: not published.
  std::array<int64_t, 3> tokens = {};
  int64_t vocabulary = 0;
};

// wikitext-103, wikitext-2, ptb and lm1b.
const std::vector<WordCorpusSpec>& word_corpora();

// Returns the text of a row. Downloads are verified by checksum, before and after they are read, and counts by the
// published numbers. `url`
// replaces the mirrors: it is the address of a single file or archive, or the folder that holds several.
WordSource word_source(const WordCorpusSpec& spec, const std::string& url, const WordOptions& options);

// Returns the text of a file, gzip or plain, split between lines: train ends before the first line that begins
// at byte `train_end` or later, dev before the first that begins at `dev_end` or later, and test is the rest.
// `checksum` is the sha256 of the text. Error, when the text is read: it has another one by now.
WordSource file_source(const std::string& name, const std::filesystem::path& path,
                       const std::string& checksum, int64_t train_end, int64_t dev_end);

}  // namespace tandem
