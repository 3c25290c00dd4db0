// Helpers for tests of corpora: the text of a split, and a temporary data folder.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tandem/data/corpus.h"
#include "tests/support/files.h"

namespace tandem::testing {

inline std::string text_of(const Corpus& corpus, std::string_view split) {
  const Tokens tokens = corpus.split(split);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens.size(); ++i) ids.push_back(tokens[i]);
  return corpus.vocabulary.decode(ids);
}

// A temporary data folder, and the token files in it.
struct Cache {
  TempDir dir;
  std::vector<std::filesystem::path> token_files() const {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
      if (entry.path().extension() == ".tokens") files.push_back(entry.path());
    return files;
  }
  CorpusOptions options(const std::string& name) const {
    CorpusOptions options;
    options.name_or_path = name;
    options.data_dir = dir.path();
    return options;
  }
};

}  // namespace tandem::testing
