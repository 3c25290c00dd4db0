// Builds the token file of a text: counts its words, chooses the vocabulary, encodes the text.
#pragma once
#include <array>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "tandem/data/download/cache.h"
#include "tandem/data/token_file.h"
#include "tandem/data/words/text.h"

namespace tandem {

// A text, and how it is cut into words and splits.
struct WordSource {
  std::string name;      // the corpus; begins the name of the token file
  std::string checksum;  // identifies the text
  std::string splits;    // describes the split; together with the checksum it determines all parts
  std::function<TextReader()> open;  // is called only if there is no token file yet; may download
  LineMarks marks;
  bool test_is_dev = false;  // the benchmark has one held-out text for both
  // Returns the published WordVocabulary::text(); empty function: none was published.
  std::function<std::string()> word_list;
  // Throw an Error if the counts, or the vocabulary without limits, are not the published ones.
  std::function<void(const TextCounts&)> check_counts;
  std::function<void(const WordVocabulary&)> check_vocabulary;
};

struct WordOptions {
  VocabularyLimit limit;                 // other than the default, it also replaces the published word list
  std::optional<Vocabulary> vocabulary;  // of words; used in place of one made from the text
  std::filesystem::path data_dir;        // empty: default_data_dir()
  CorpusProgress progress;
};

// Opens the token file DATA_DIR/NAME-KEY.tokens and builds it first if it does not exist. KEY is a digest of
// the checksum, the split and the vocabulary, so a change of any of them makes another file; of a long NAME the
// beginning is taken. A token file of that KEY is opened under whatever NAME. Two processes never build the same file at once. Error: the text cannot be read or was altered
// meanwhile, and nothing is left then; the token file is damaged, or belongs to another text.
TokenFile load_token_file(const WordSource& source, const WordOptions& options);

// Returns whether `key` is that of a token file that load_token_file() opens or builds: the text's own for these
// limits, or the one for options.vocabulary.
bool has_key(const WordSource& source, const WordOptions& options, const std::string& key);

}  // namespace tandem
