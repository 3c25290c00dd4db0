// Loads corpora from Debian's dictionary package, from the download cache or from any file, as bytes or as words.
#include "data/corpus.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <future>

#include "core/check.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMinSplitTokens = 2;  // one prediction

template <class Spec>
const Spec* find_spec(const std::vector<Spec>& specs, const std::string& name) {
  const auto found =
      std::find_if(specs.begin(), specs.end(), [&name](const Spec& spec) { return spec.name == name; });
  return found == specs.end() ? nullptr : &*found;
}

// Returns the positions where train and dev end in a text of `size` bytes.
std::array<int64_t, 2> ends_by_fractions(int64_t size, const CorpusOptions& options) {
  const auto share = [size](double fraction) {
    return static_cast<int64_t>(std::floor(fraction * static_cast<double>(size)));
  };
  const int64_t test_begin = size - std::min(size, share(options.test_fraction));
  return {test_begin - std::min(test_begin, share(options.valid_fraction)), test_begin};
}

std::array<int64_t, 2> ends_by_sizes(int64_t size, const CorpusSpec& spec, const std::string& source) {
  CHECK(size == spec.size(), "{}: {} bytes where {} are expected", source, size, spec.size());
  return {spec.split_sizes[0], spec.split_sizes[0] + spec.split_sizes[1]};
}

void check_fractions(const CorpusOptions& options) {
  const double valid = options.valid_fraction;
  const double test = options.test_fraction;
  CHECK(valid >= 0 && valid < 1, "valid fraction is {}; it must be at least 0 and below 1", valid);
  CHECK(test >= 0 && test < 1, "test fraction is {}; it must be at least 0 and below 1", test);
  CHECK(valid + test < 1,
        "valid fraction {} and test fraction {} leave nothing to train on; their sum must be below 1", valid,
        test);
}

bool default_fractions(const CorpusOptions& options) {
  return options.valid_fraction == kDefaultSplitFraction && options.test_fraction == kDefaultSplitFraction;
}

void check_splits(const Corpus& corpus, const CorpusOptions& options) {
  const bool enough = corpus.train.size() >= kMinSplitTokens &&
                      (options.valid_fraction == 0 || corpus.dev.size() >= kMinSplitTokens) &&
                      (options.test_fraction == 0 || corpus.test.size() >= kMinSplitTokens);
  CHECK(enough,
        "{}: {} {} split into {} for training, {} for dev and {} for test; each needs at least "
        "{}: use a longer file or other fractions (0 for no dev or test part){}",
        corpus.name, corpus.size(), tokens_name(corpus.level()), corpus.train.size(), corpus.dev.size(),
        corpus.test.size(), kMinSplitTokens,
        corpus.level() == TokenUnit::byte ? "" : "; words are split at the borders of lines");
}

// Returns what a token of the corpus is. Error: options that contradict each other.
TokenUnit token_unit_of(const CorpusOptions& options, const WordCorpusSpec* words) {
  const std::string& name = options.name_or_path;
  const TokenUnit default_unit = words ? TokenUnit::word : TokenUnit::byte;
  const TokenUnit unit =
      options.level.value_or(options.vocabulary ? options.vocabulary->level() : default_unit);
  CHECK(!options.vocabulary || options.vocabulary->level() == unit,
        "{}: cannot be read as {}s by a vocabulary of {}s", name, name_of(unit),
        name_of(options.vocabulary->level()));
  CHECK(unit == default_unit || !words, "{}: is a benchmark of words, and has no level of bytes", name);
  CHECK(unit == TokenUnit::word || (options.words.size == 0 && options.words.min_count == 1),
        "{}: a vocabulary of bytes has no limits; size and smallest count are for words", name);
  return unit;
}

// Returns the path of a corpus's file, downloaded if it has mirrors.
fs::path file_of(const CorpusOptions& options, const CorpusSpec* spec, const std::string& known) {
  const std::string& name = options.name_or_path;
  if (spec)
    return fetch_corpus(
        *spec,
        {.data_dir = options.data_dir, .url = options.url, .progress = options.progress, .download = {}});
  CHECK(options.url.empty(), "{}: is not downloaded, so a URL ({}) has no use; leave it out", name,
        options.url);
  if (name == "gcide")
    return find_gcide(gcide_places(options.data_dir.empty() ? default_data_dir() : options.data_dir));
  std::error_code missing;
  CHECK(!name.empty() && fs::exists(name, missing),
        "'{}' is neither a corpus ({}) nor an existing file; name one of them", name, known);
  return name;
}

void load_bytes(Corpus& corpus, const CorpusOptions& options, const CorpusSpec* spec, const fs::path& path) {
  corpus.source = path.string();
  corpus.bytes = options.name_or_path == "gcide" ? read_gzip(path) : read_file(path);
  // Computed on another thread, because the user waits for all of this.
  std::future<std::string> sum =
      std::async(std::launch::async, [&corpus] { return checksum("sha256", corpus.bytes); });
  const auto size = static_cast<int64_t>(corpus.bytes.size());
  const auto [train_end, dev_end] =
      spec ? ends_by_sizes(size, *spec, corpus.source) : ends_by_fractions(size, options);
  corpus.train = {0, train_end};
  corpus.dev = {train_end, dev_end};
  corpus.test = {dev_end, size};
  corpus.vocabulary = options.vocabulary ? *options.vocabulary : Vocabulary::of(corpus.bytes);
  corpus.sha256 = sum.get();
}

void load_words(Corpus& corpus, const WordSource& source, const WordOptions& options) {
  corpus.words = load_token_file(source, options);
  const TokenFileInfo& info = corpus.words.info();
  corpus.source = corpus.words.path().string();
  corpus.train = info.splits[kTrain];
  corpus.dev = info.splits[kDev];
  corpus.test = info.splits[kTest];
  corpus.vocabulary = corpus.words.vocabulary();
  corpus.sha256 = info.key;
}

WordSource source_in_file(const CorpusOptions& options, const CorpusSpec* spec, const fs::path& path) {
  GzipFile file(path);
  const Unpacked text = read_through(file, "sha256");
  const auto [train_end, dev_end] =
      spec ? ends_by_sizes(text.size, *spec, path.string()) : ends_by_fractions(text.size, options);
  return file_source(fs::path(options.name_or_path).filename().string(), path, text.checksum, train_end,
                     dev_end);
}

}  // namespace

int64_t Corpus::size() const {
  return level() == TokenUnit::byte ? static_cast<int64_t>(bytes.size()) : words.info().tokens;
}

Tokens Corpus::split(std::string_view split_name) const {
  TokenRange range;
  if (split_name == "train") {
    range = train;
  } else if (split_name == "dev") {
    range = dev;
  } else if (split_name == "test") {
    range = test;
  } else {
    CHECK(split_name == "all", "no split is named '{}'; there are train, dev, test and all", split_name);
    range = {0, size()};
  }
  const auto begin = static_cast<size_t>(range.begin), count = static_cast<size_t>(range.size());
  if (level() == TokenUnit::byte) return {std::span(bytes).subspan(begin, count), vocabulary};
  return {words.ids().subspan(begin, count), vocabulary.size()};
}

std::vector<fs::path> gcide_places(const fs::path& data_dir) {
  const fs::path in_package = "usr/share/dictd/gcide.dict.dz";
  std::vector<fs::path> places;
  if (!data_dir.empty()) places.push_back(data_dir / in_package.filename());
#ifdef TANDEM_PREFIX
  places.push_back(fs::path(TANDEM_PREFIX) / in_package);
#endif
  places.push_back("/" / in_package);
  return places;
}

fs::path find_gcide(const std::vector<fs::path>& places) {
  std::string looked;
  for (const fs::path& place : places) {
    std::error_code unreadable;
    if (fs::exists(place, unreadable)) return place;
    looked += "\n  " + place.string();
  }
  detail::fail(
      "gcide: gcide.dict.dz is in none of{}\nIt is in Debian's package dict-gcide: run tools/setup, or `apt "
      "install dict-gcide`, or put the file into the first of these folders.",
      looked);
}

bool has_own_split(const std::string& name) {
  return find_spec(downloadable_corpora(), name) || find_spec(word_corpora(), name);
}

Corpus load_corpus(const CorpusOptions& options, const std::vector<CorpusSpec>& downloadable,
                   const std::vector<WordCorpusSpec>& word_specs) {
  const std::string& name = options.name_or_path;
  const CorpusSpec* spec = find_spec(downloadable, name);
  const WordCorpusSpec* word_spec = find_spec(word_specs, name);
  const TokenUnit unit = token_unit_of(options, word_spec);
  check_fractions(options);
  CHECK(!(spec || word_spec) || default_fractions(options),
        "{} is always split {}, as published results are; leave out the fractions", name,
        spec ? fmt::format("into {} bytes", fmt::join(spec->split_sizes, " / ")) : "by its authors");
  const WordOptions word_options{.limit = options.words,
                                 .vocabulary = options.vocabulary,
                                 .data_dir = options.data_dir,
                                 .progress = options.progress};
  Corpus corpus;
  corpus.name = name;
  if (word_spec) {
    load_words(corpus, word_source(*word_spec, options.url, word_options), word_options);
    return corpus;
  }
  std::string known = "gcide";
  for (const CorpusSpec& row : downloadable) known += ", " + row.name;
  for (const WordCorpusSpec& row : word_specs) known += ", " + row.name;
  const fs::path path = file_of(options, spec, known);
  if (unit == TokenUnit::byte)
    load_bytes(corpus, options, spec, path);
  else
    load_words(corpus, source_in_file(options, spec, path), word_options);
  check_splits(corpus, options);
  return corpus;
}

}  // namespace tandem
