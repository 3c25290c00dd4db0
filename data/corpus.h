// Corpora by name or path: their tokens, bytes or words, vocabulary and train/dev/test split.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/download/cache.h"
#include "data/token_file.h"
#include "data/tokens.h"
#include "data/words/benchmarks.h"

namespace tandem {

struct Corpus {
  std::string name;             // as asked for
  std::string source;           // the file that the bytes were read from; of words the token file
  std::vector<uint8_t> bytes;   // of bytes: all of them
  TokenFile words;              // of words: the mapped ids
  TokenRange train, dev, test;  // of bytes adjacent, in this order, all of them; of words see TokenFile
  Vocabulary vocabulary;
  std::string sha256;  // of `bytes`; of words the key of the token file: the same ids, the same key

  TokenUnit level() const { return vocabulary.level(); }
  int64_t size() const;  // tokens in all
  // "train", "dev", "test" or "all"; throws for other names. Valid as long as the corpus is.
  Tokens split(std::string_view split_name) const;
};

inline constexpr double kDefaultSplitFraction = 0.05;

struct CorpusOptions {
  // gcide, enwik8, text8, wikitext-103, wikitext-2, ptb, lm1b, or the path of any file; a name wins over a
  // file (write ./NAME).
  std::string name_or_path;

  // Bytes or words; by default words for benchmarks of words, which have no other, and bytes for all else.
  std::optional<TokenUnit> level;
  VocabularyLimit
      words;  // of words: which the vocabulary has; by default all, of lm1b those of its published list
  // To read the text with, at its level, instead of one of the text's own, of whose words `words` speaks.
  std::optional<Vocabulary> vocabulary;

  // Share of dev and test at the end of the file, each in [0, 1) and together below 1. 0 asks for none; any
  // other share must give at least 2 tokens, one prediction. Of bytes split by position; of words at the next
  // line. Benchmarks have splits of their own and take only the default.
  double valid_fraction = kDefaultSplitFraction;
  double test_fraction = kDefaultSplitFraction;

  // Of what is downloaded: where from instead of the mirrors; file:// works. ptb and lm1b are several files:
  // the folder that holds them.
  std::string url;
  std::filesystem::path data_dir;  // empty: default_data_dir()
  CorpusProgress progress;         // during a download
};

// Reads a corpus, downloading it first where needed. gcide: from the package dict-gcide, needs no network.
// Words are encoded once: the next time their ids are mapped from the data folder. Throws Error for unknown
// names, missing or broken files, bytes that a given vocabulary lacks, and splits that leave too little.
// `downloadable` and `word_specs` are the corpora with a download; tests and applications pass their own.
Corpus load_corpus(const CorpusOptions& options,
                   const std::vector<CorpusSpec>& downloadable = downloadable_corpora(),
                   const std::vector<WordCorpusSpec>& word_specs = word_corpora());

// Whether `name` is of a corpus whose split is its own, which takes no fractions.
bool has_own_split(const std::string& name);

// The places where gcide.dict.dz is looked for, in order: the data folder (unless empty), the folder of
// packages that the build was configured with (if any), the system's.
std::vector<std::filesystem::path> gcide_places(const std::filesystem::path& data_dir);

// The first of `places` that exists; throws naming all of them and how to get the package when none does.
std::filesystem::path find_gcide(const std::vector<std::filesystem::path>& places);

}  // namespace tandem
