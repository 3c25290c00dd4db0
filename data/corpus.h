// Byte-level corpora by name or path: their bytes, vocabulary and train/dev/test split.
#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/corpus_cache.h"
#include "data/vocabulary.h"

namespace tandem {

// Bytes begin .. end - 1 of a corpus.
struct ByteRange {
  size_t begin = 0;
  size_t end = 0;
  size_t size() const { return end - begin; }
};

struct Corpus {
  std::string name;    // as asked for
  std::string source;  // the file that the bytes were read from
  std::vector<uint8_t> bytes;
  ByteRange train, dev, test;  // adjacent, in this order, all of the bytes
  Vocabulary vocabulary;       // the distinct bytes of the whole corpus, ascending
  std::string sha256;          // of `bytes`

  // "train", "dev", "test" or "all"; throws for other names.
  std::span<const uint8_t> split(std::string_view split_name) const;
};

inline constexpr double kDefaultSplitFraction = 0.05;

struct CorpusOptions {
  std::string
      name_or_path;  // gcide, enwik8, text8, or the path of any file; a name wins over a file (write ./NAME)

  // Share of dev and test at the end of the file, each in [0, 1) and together below 1. 0 asks for none; any
  // other share must give at least 2 bytes, one prediction. enwik8 and text8 are always split 90M / 5M / 5M
  // and take only the default.
  double valid_fraction = kDefaultSplitFraction;
  double test_fraction = kDefaultSplitFraction;

  std::string url;                 // enwik8, text8: where to download instead of the mirrors; file:// works
  std::filesystem::path data_dir;  // empty: default_data_dir()
  CorpusProgress progress;         // during a download
};

// Reads a corpus, downloading it first where needed. gcide: from the package dict-gcide, needs no network.
// Throws Error for unknown names, missing or broken files, and splits that leave too little.
// `downloadable` are the corpora with a download; tests and applications pass their own.
Corpus load_corpus(const CorpusOptions& options,
                   const std::vector<CorpusSpec>& downloadable = downloadable_corpora());

// The places where gcide.dict.dz is looked for, in order: the data folder (unless empty), the folder of
// packages that the build was configured with (if any), the system's.
std::vector<std::filesystem::path> gcide_places(const std::filesystem::path& data_dir);

// The first of `places` that exists; throws naming all of them and how to get the package when none does.
std::filesystem::path find_gcide(const std::vector<std::filesystem::path>& places);

}  // namespace tandem
