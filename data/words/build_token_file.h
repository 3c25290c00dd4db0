// From a text to its token file: words are counted, the vocabulary is chosen, the text is encoded, once.
#pragma once
#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "data/download/cache.h"
#include "data/token_file.h"
#include "data/words/text.h"

namespace tandem {

// A text and how it is cut into words and splits.
struct WordSource {
  std::string name;                  // of the corpus; begins the name of the token file
  std::string checksum;              // of the text
  std::string splits;                // how it is split; with the checksum, all that the parts depend on
  std::function<TextReader()> open;  // called only where the token file is not there yet; may download
  LineMarks marks;
  bool test_is_dev = false;                // the benchmark has one held-out text for both
  std::function<std::string()> word_list;  // of a WordVocabulary, where its authors gave one; else empty
  // Throws when the counts are not what they must be.
  std::function<void(const TextCounts&)> check_counts;
  std::function<void(const WordVocabulary&)> check_vocabulary;  // the one of the default choice
};

struct WordOptions {
  VocabularyLimit choice;                // not the default one: instead of the source's word list, too
  std::optional<Vocabulary> vocabulary;  // of words; instead of one of the text's own
  std::filesystem::path data_dir;        // empty: default_data_dir()
  CorpusProgress progress;
};

// Opens the token file DATA_DIR/NAME-KEY.tokens, or makes it first. KEY stands for the checksum, the splits
// and the vocabulary: other ones are another file. Two processes do not make it at once.
TokenFile load_token_file(const WordSource& source, const WordOptions& options);

}  // namespace tandem
