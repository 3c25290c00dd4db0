// Corpus: a text by name or path, as bytes, subwords or words, with its vocabulary and its train/dev/test split.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/data/download/cache.h"
#include "tandem/data/token_file.h"
#include "tandem/data/tokens.h"
#include "tandem/data/words/benchmarks.h"

namespace tandem {

// A token is a byte, a subword or a word, which level() tells. `bytes` or `words` holds the text, and the other one is
// empty.
struct Corpus {
  std::string name;    // as the user gave it
  std::string source;  // path of the file that was read
  Vocabulary vocabulary;
  TokenRange train, dev, test;
  std::string sha256;  // identifies the tokens: see `bytes` and `words`
  // sha256 of the text, unpacked, whatever its file is called and at whatever level it is read. For
  // benchmarks of words, which are several files, a digest of theirs and of the names of the splits.
  std::string text_sha256;
  bool unpacked = false;  // the file was gzip, and this is its content
  bool trained = false;   // the text is that of CorpusOptions::trained

  // Tokens are bytes. `source` is the text itself; train, dev and test follow each other and are all of it;
  // sha256 is the checksum of the text.
  std::vector<uint8_t> bytes;

  // Tokens are words or subwords. `source` is the token file, whose ids are mapped into memory; sha256 is the token file's
  // key.
  TokenFile words;

  TokenUnit level() const { return vocabulary.level(); }
  int64_t size() const;  // number of tokens in all
  // Returns the tokens of "train", "dev", "test" or "all", a view that is valid as long as the corpus.
  // Error: any other name.
  Tokens split(std::string_view split_name) const;
};

inline constexpr double kDefaultSplitFraction = 0.05;

// The text that a model was trained on, and how it was split then.
struct TrainedText {
  std::string corpus_sha256;  // Corpus::sha256 of the run
  std::string text_sha256;    // Corpus::text_sha256 of the run; empty in checkpoints of earlier versions
  double valid_fraction = kDefaultSplitFraction;
  double test_fraction = kDefaultSplitFraction;
  VocabularyLimit words;
};

struct CorpusOptions {
  // gcide, gcide-alphabetical, enwik8, text8, wikitext-103, wikitext-2, ptb, lm1b, or the path of any file. A name wins
  // over a file of that name; write ./NAME for the file.
  //
  // A gzip file (dictzip included) stands for its content, at every level. Archives (zip, 7z, tar) and files packed
  // by xz, zstd or bzip2 are refused: they are to be unpacked first. A pipe can be read as bytes alone; at
  // the other levels a text is read several times.
  std::string name_or_path;

  // The unit of a token. Default: words for benchmarks of words, which allow nothing else, and bytes for all other
  // texts.
  std::optional<TokenUnit> level;
  // Limits the vocabulary of words, by default to all words, for lm1b to its published list; or `size` is that of a
  // vocabulary of subwords, by default kDefaultSubwords.
  VocabularyLimit words;
  // Reads the text with this vocabulary, and at its level, instead of making one from the text.
  std::optional<Vocabulary> vocabulary;
  // If the text is this one, which its digest tells and not its name, it is split as it was in training: the fractions
  // and the limits of `trained` replace those given here, so that the same tokens are held out. A benchmark by its name
  // keeps its published split. A text that is not this one is read as if nothing were given here.
  std::optional<TrainedText> trained;
  bool split_anew = false;  // splits the text of `trained`, too, by what is given here

  // Shares of dev and test at the end of the file, each in [0, 1) and together below 1. 0 makes none; any other
  // share must give at least 2 tokens, one prediction. Bytes and subwords are split at that byte, words at the
  // next line. Corpora with a published split allow only the default.
  double valid_fraction = kDefaultSplitFraction;
  double test_fraction = kDefaultSplitFraction;

  // The address to download from in place of the known mirrors; file:// works. For corpora of several files, ptb and
  // lm1b: the folder that holds them.
  std::string url;
  std::filesystem::path data_dir;  // empty: default_data_dir()
  CorpusProgress progress;         // shows downloads, unpacking and encoding
};

// Reads a corpus and downloads it first if needed. gcide comes from the package dict-gcide and needs no network; its
// entries are shuffled (data/entries.h), and it stands for gcide-alphabetical if that is the text of `trained`. Words
// and subwords are encoded once; later calls map their ids from the data folder. `downloadable` and `word_specs` list the corpora that can be downloaded; tests and applications pass their own.
// Error: an unknown name; a missing, broken or packed file; a text that is altered while it is read; a byte that the
// given vocabulary lacks; a split with too few tokens. DownloadError: no mirror could be read.
Corpus load_corpus(const CorpusOptions& options,
                   const std::vector<CorpusSpec>& downloadable = downloadable_corpora(),
                   const std::vector<WordCorpusSpec>& word_specs = word_corpora());

// Returns whether the corpus has a published split, so that it takes no fractions.
bool has_own_split(const std::string& name);

// Returns the places to look for gcide.dict.dz in, in order: the data folder (unless empty), the folder of
// packages that the build was configured with (if any), the system's.
std::vector<std::filesystem::path> gcide_places(const std::filesystem::path& data_dir);

// Returns the first of `places` that exists. Error: none does; the message names all of them and the package.
std::filesystem::path find_gcide(const std::vector<std::filesystem::path>& places);

}  // namespace tandem
