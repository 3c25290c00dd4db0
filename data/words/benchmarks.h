// Benchmarks of words: where they are downloaded, how they are cut, and how many tokens they must have.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <vector>

#include "data/words/build_token_file.h"

namespace tandem {

// One row of word_corpora().
struct WordCorpusSpec {
  std::string name;
  std::vector<DownloadSpec> files = {};  // archives (zip, tar, gzipped tar) and single files
  // Which files, in the archives or alone, make up train, dev and test: shell patterns, '*' for any
  // characters. Several files of one split follow each other by name. Where test is as dev, it is dev.
  std::array<std::string, 3> parts = {};
  LineMarks marks = {};
  // A list of the vocabulary, one word a line before its count, with what its authors say of unknown words in
  // it.
  std::optional<DownloadSpec> word_list = {};
  std::array<int64_t, 3> tokens = {};  // of train, dev and test, marks included; 0 where not published
  int64_t vocabulary = 0;              // words
};

// wikitext-103, wikitext-2, ptb and lm1b.
const std::vector<WordCorpusSpec>& word_corpora();

// The text of a row. What is downloaded is verified by its checksum, what is counted by the number of tokens;
// `url` replaces the mirrors: of a single file or archive its own, of several the folder that holds them.
WordSource word_source(const WordCorpusSpec& spec, const std::string& url, const WordOptions& options);

// The text of a file, gzip or plain, split at the borders of lines: train up to the first line that begins at
// byte `train_end` or later, dev from there to the first that begins at `dev_end` or later, test the rest.
// `checksum` is of the text.
WordSource file_source(const std::string& name, const std::filesystem::path& path,
                       const std::string& checksum, int64_t train_end, int64_t dev_end);

}  // namespace tandem
