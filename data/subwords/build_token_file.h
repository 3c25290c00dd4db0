// Builds the token file of a text: learns its subwords, if no vocabulary is given, and encodes the text.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "tandem/data/download/data_dir.h"
#include "tandem/data/token_file.h"

namespace tandem {

// A text in a file, and its split: train, dev and test follow each other and are all of it, as they are for bytes.
struct SubwordSource {
  std::string name;            // the corpus; begins the names of the files
  std::filesystem::path path;  // plain or gzip
  std::string sha256;          // of the text
  int64_t train_end = 0, dev_end = 0;
};

struct SubwordOptions {
  int64_t size = 0;                      // of the vocabulary; 0: kDefaultSubwords
  std::optional<Vocabulary> vocabulary;  // of subwords; used in place of one learnt from the text
  std::filesystem::path data_dir;        // empty: default_data_dir()
  CorpusProgress progress;
};

// Returns the key of the token file: a sha256 of the text's checksum, the split and the vocabulary.
std::string token_file_key(const SubwordSource& source, const Vocabulary& vocabulary);

// Opens the token file DATA_DIR/NAME-KEY.tokens, and builds it first if it does not exist. The vocabulary is learnt from the
// bytes of train alone, and kept in DATA_DIR/NAME-KEY.subwords, whose KEY is a sha256 of the text's checksum, train_end and
// the size. The parts are encoded apart, so that each is the same bytes as at the level of bytes. While it builds, the text
// is in memory. Two processes never build the same file at once. Error: the text cannot be read, or was altered
// meanwhile; learn_subwords() fails; a file is damaged.
TokenFile load_subword_file(const SubwordSource& source, const SubwordOptions& options);

}  // namespace tandem
