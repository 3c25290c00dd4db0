// Token files: the ids of a text with its vocabulary, made once and mapped into memory afterwards.
//
// A token file is a safetensors file: tensor `ids` (i32, all tokens: train, dev, test), tensor `words` (u8,
// the words in id order, a newline behind each) and the metadata `format`, `source` (where the text came
// from, with its checksum), `key` (a sha256 of all that the ids depend on) and `splits` (JSON: begin and end
// of train, dev and test; benchmarks that have no test set of their own give that of dev).
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/atomic_file.h"
#include "data/vocabulary.h"

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
  int64_t tokens = 0;                // in all
};

class TokenFile {
 public:
  // Throws Error, naming the file, when it is no token file, is truncated, or has another key than `key`.
  static TokenFile open(const std::filesystem::path& path, const std::string& key);

  const TokenFileInfo& info() const { return info_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }
  // In the mapping, which lives as long as this object or a copy of it.
  std::span<const int32_t> ids() const;

 private:
  class Mapping;

  TokenFileInfo info_;
  Vocabulary vocabulary_;
  std::shared_ptr<const Mapping> mapping_;
};

// Writes a token file, its ids piece by piece in any order. It is there, whole, after commit().
class TokenFileWriter {
 public:
  TokenFileWriter(const std::filesystem::path& path, const TokenFileInfo& info, const WordVocabulary& words);
  // Ids from position `at` on; throws when they reach beyond the end.
  void write(int64_t at, std::span<const int32_t> ids);
  // Throws when not all ids were written.
  void commit();

 private:
  std::string path_;
  int64_t tokens_;
  int64_t written_ = 0;
  uint64_t ids_begin_ = 0;  // in the file
  AtomicFile file_;
};

}  // namespace tandem
