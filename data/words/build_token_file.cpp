// Builds token files.
#include "tandem/data/words/build_token_file.h"

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/data/keyed_file.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

// Returns a sha256 of everything that the ids depend on. Increase the number in "words 1" when the way of
// cutting text into words changes.
std::string key_of(const WordSource& source, const std::string& vocabulary) {
  return sha256_of(fmt::format("words 1\n{}\n{}\n{} {} {}\n{}", source.checksum, source.splits,
                               source.marks.end, source.marks.begin, source.test_is_dev, vocabulary));
}

std::string own_key(const WordSource& source, const VocabularyLimit& limit) {
  return key_of(source, fmt::format("size {} count {}", limit.size, limit.min_count));
}

std::string key_with(const WordSource& source, const Vocabulary& vocabulary) {
  return key_of(source, sha256_of(vocabulary.words().text()));
}

class TokenFileBuilder {
 public:
  TokenFileBuilder(const WordSource& source, const WordOptions& options)
      : source_(source), options_(options), dir_(data_dir(source.name, options.data_dir)) {}

  TokenFile run() {
    const std::string own = own_key(source_, options_.limit);
    if (!options_.vocabulary) return open_or_build(own);
    // The vocabulary is usually the text's own, for which a token file exists already.
    if (is_there(path_of(own))) {
      TokenFile file = TokenFile::open(path_of(own), own);
      if (file.vocabulary() == *options_.vocabulary) return file;
    }
    return open_or_build(key_with(source_, *options_.vocabulary));
  }

 private:
  fs::path path_of(const std::string& key) const { return keyed_file(dir_, source_.name, key, ".tokens"); }

  TokenFile open_or_build(const std::string& key) const {
    const fs::path path = path_of(key);
    build_once(path, options_.progress, [&] { build(path, key); });
    return TokenFile::open(path, key);
  }

  void build(const fs::path& path, const std::string& key) const {
    const TextReader text = source_.open();
    const TextCounts counts = count_words(text, source_.marks, progress("counting the words of"));
    if (source_.check_counts) source_.check_counts(counts);
    const Vocabulary vocabulary = vocabulary_of(counts.words);

    std::map<TextPart, int64_t> next;  // position of the next token of each part
    TokenFileInfo info{.source = source_.checksum, .key = key, .splits = {}, .tokens = 0};
    auto entry = counts.tokens.begin();
    for (const int split : {kTrain, kDev, kTest}) {
      TokenRange& range = info.splits[static_cast<size_t>(split)];
      range.begin = info.tokens;
      for (; entry != counts.tokens.end() && entry->first.split == split; ++entry) {
        next[entry->first] = info.tokens;
        info.tokens += entry->second;
      }
      range.end = info.tokens;
    }
    if (source_.test_is_dev) info.splits[kTest] = info.splits[kDev];

    TokenFileWriter file(path, info, vocabulary);
    const auto write = [this, &file, &next](const TextPart& part, std::span<const int32_t> ids) {
      const auto at = next.find(part);
      TANDEM_CHECK(at != next.end(), "{}: was altered while it was read: {} was not there before; try again",
                   printable_start(source_.name), printable_start(part.name));
      file.write(at->second, ids);
      at->second += static_cast<int64_t>(ids.size());
    };
    encode_words(text, vocabulary.words(), source_.marks.begin, write, progress("encoding the words of"));
    file.commit();
  }

  Vocabulary vocabulary_of(const WordCounts& counts) const {
    if (options_.vocabulary) return *options_.vocabulary;
    const VocabularyLimit& limit = options_.limit;
    const bool published = limit.size == 0 && limit.min_count == 1;
    const Vocabulary vocabulary =
        Vocabulary::of_words(published && source_.word_list ? source_.word_list()
                                                            : choose_words(counts, limit, source_.marks.end));
    if (published && source_.check_vocabulary) source_.check_vocabulary(vocabulary.words());
    return vocabulary;
  }

  TextProgress progress(const char* what) const {
    if (!options_.progress) return {};
    const std::string text = fmt::format("{} {}", what, source_.name);
    return [this, text](int64_t bytes) { options_.progress(text, bytes, 0); };
  }

  const WordSource& source_;
  const WordOptions& options_;
  fs::path dir_;
};

}  // namespace

bool has_key(const WordSource& source, const WordOptions& options, const std::string& key) {
  return key == own_key(source, options.limit) ||
         (options.vocabulary && key == key_with(source, *options.vocabulary));
}

TokenFile load_token_file(const WordSource& source, const WordOptions& options) {
  return TokenFileBuilder(source, options).run();
}

}  // namespace tandem
