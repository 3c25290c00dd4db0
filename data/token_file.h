// Token files: the ids of a text and its vocabulary, written once and mapped into memory from then on.
//
// A token file is a safetensors file with
//
//     ids          tensor, i32   all tokens: train, dev, test
//     words        tensor, u8    of words: the words in id order, each followed by a newline
//     subwords     tensor, u8    of subwords, in place of `words`: SubwordVocabulary::model()
//     format       metadata      "tandem-tokens-1"
//     source       metadata      where the text came from, with its checksum
//     key          metadata      sha256 of everything that the ids depend on
//     splits       metadata      JSON: begin and end of train, dev and test; for benchmarks without a test set of
//                                their own, test is dev
//     tokens_xxh3  metadata      xxh3-128 of ids, words or subwords, and splits, 32 hex digits; files of earlier versions have none
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "tandem/core/atomic_file.h"
#include "tandem/data/vocabulary.h"

namespace tandem {

// Tokens begin .. end - 1 of a text.
struct TokenRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const TokenRange&) const = default;
};

struct TokenFileInfo {
  std::string source;
  std::string key;
  std::array<TokenRange, 3> splits;  // train, dev, test
  int64_t tokens = 0;                // number of tokens in all
};

class TokenFile {
 public:
  // Maps a file, whose ids and digest are checked first: the whole file is read. Error naming it: not a token file;
  // truncated or damaged; an id outside of the vocabulary; a key other than `key`.
  static TokenFile open(const std::filesystem::path& path, const std::string& key);

  const std::filesystem::path& path() const { return path_; }
  const TokenFileInfo& info() const { return info_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  // The ids in the mapping, which lives as long as this object or a copy of it.
  std::span<const int32_t> ids() const;

 private:
  class Mapping;
  friend class TokenFileWriter;

  std::filesystem::path path_;
  TokenFileInfo info_;
  Vocabulary vocabulary_;
  std::shared_ptr<const Mapping> mapping_;
};

// Writes a token file piece by piece, in any order. The file appears, complete, with commit().
class TokenFileWriter {
 public:
  // Error: a vocabulary of bytes.
  TokenFileWriter(const std::filesystem::path& path, const TokenFileInfo& info, const Vocabulary& vocabulary);
  // Writes ids from position `at` on. Error: they reach beyond the end.
  void write(int64_t at, std::span<const int32_t> ids);
  // Error: not all ids were written; an id is outside of the vocabulary.
  void commit();

 private:
  std::string path_;
  std::string vocabulary_, splits_;  // as they stand in the file
  int32_t vocabulary_size_;
  int64_t tokens_;
  int64_t written_ = 0;
  uint64_t digest_begin_ = 0, ids_begin_ = 0;  // offsets in the file, in bytes
  AtomicFile file_;
};

}  // namespace tandem
