// Loads corpora from Debian's dictionary package, from the download cache or from any file, as bytes, subwords or words.
#include "tandem/data/corpus.h"

#include <fmt/format.h>

#include <algorithm>

#include "tandem/core/check.h"
#include "tandem/core/utf8.h"
#include "tandem/data/entries.h"
#include "tandem/data/read_corpus.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMinSplitTokens = 2;  // one prediction
const std::string kShuffled = "gcide", kAlphabetical = "gcide-alphabetical";

template <class Spec>
const Spec* find_spec(const std::vector<Spec>& specs, const std::string& name) {
  const auto found =
      std::find_if(specs.begin(), specs.end(), [&name](const Spec& spec) { return spec.name == name; });
  return found == specs.end() ? nullptr : &*found;
}

void check_splits(const Corpus& corpus, const CorpusOptions& options) {
  const bool enough = corpus.train.size() >= kMinSplitTokens &&
                      (options.valid_fraction == 0 || corpus.dev.size() >= kMinSplitTokens) &&
                      (options.test_fraction == 0 || corpus.test.size() >= kMinSplitTokens);
  TANDEM_CHECK(enough,
               "{}: {} {} split into {} for training, {} for dev and {} for test; each needs at least "
               "{}: use a longer file or other fractions (0 for no dev or test part){}",
               corpus.name, corpus.size(), tokens_name(corpus.level()), corpus.train.size(),
               corpus.dev.size(), corpus.test.size(), kMinSplitTokens,
               corpus.level() != TokenUnit::word ? "" : "; words are split at the borders of lines");
}

// Returns what a token of the corpus is. Error: options that contradict each other.
TokenUnit token_unit_of(const CorpusOptions& options, const WordCorpusSpec* words) {
  const std::string& name = options.name_or_path;
  const TokenUnit default_unit = words ? TokenUnit::word : TokenUnit::byte;
  const TokenUnit unit =
      options.level.value_or(options.vocabulary ? options.vocabulary->level() : default_unit);
  TANDEM_CHECK(!options.vocabulary || options.vocabulary->level() == unit,
               "{}: cannot be read as {}s by a vocabulary of {}s", name, name_of(unit),
               name_of(options.vocabulary->level()));
  TANDEM_CHECK(unit == default_unit || !words, "{}: is a benchmark of words, and has no level of {}s", name,
               name_of(unit));
  TANDEM_CHECK(
      unit != TokenUnit::byte || (options.words.size == 0 && options.words.min_count == 1),
      "{}: a vocabulary of bytes has no limits; size (--vocab-size) is for subwords and words, smallest count "
      "for words",
      name);
  TANDEM_CHECK(unit != TokenUnit::subword || options.words.min_count == 1,
               "{}: a vocabulary of subwords has a size and no smallest count, which is for words", name);
  return unit;
}

// Returns the path of a corpus's file, downloaded if it has mirrors.
fs::path file_of(const CorpusOptions& options, const CorpusSpec* spec, const std::string& known) {
  const std::string& name = options.name_or_path;
  if (spec)
    return fetch_corpus(
        *spec,
        {.data_dir = options.data_dir, .url = options.url, .progress = options.progress, .download = {}});
  TANDEM_CHECK(options.url.empty(), "{}: is not downloaded, so a URL ({}) has no use; leave it out", name,
               url_for_message(options.url));
  const fs::path dir = options.data_dir.empty() ? default_data_dir() : options.data_dir;
  if (name == kAlphabetical) return find_gcide(gcide_places(dir));
  if (name == kShuffled)
    return shuffled_file(find_gcide(gcide_places(dir)), name, data_dir(name, dir), options.progress);
  std::error_code missing;
  TANDEM_CHECK(!name.empty() && fs::exists(name, missing),
               "'{}' is neither a corpus ({}) nor an existing file; name one of them",
               printable_start(name, 1000), known);
  return name;
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
    TANDEM_CHECK(split_name == "all", "no split is named '{}'; there are train, dev, test and all",
                 split_name);
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

Corpus load_corpus(const CorpusOptions& given, const std::vector<CorpusSpec>& downloadable,
                   const std::vector<WordCorpusSpec>& word_specs) {
  CorpusOptions options = given;
  const std::string& name = options.name_or_path;
  const CorpusSpec* spec = find_spec(downloadable, name);
  const WordCorpusSpec* word_spec = find_spec(word_specs, name);
  const TokenUnit unit = token_unit_of(options, word_spec);
  check_fractions(options);
  TANDEM_CHECK(!(spec || word_spec) || default_fractions(options),
               "{} is always split {}, as published results are; leave out the fractions", name,
               spec ? fmt::format("into {} bytes", fmt::join(spec->split_sizes, " / ")) : "by its authors");
  Corpus corpus;
  corpus.name = name;
  if (word_spec) {
    read_benchmark(corpus, options, *word_spec);
    return corpus;
  }
  std::string known = kShuffled + ", " + kAlphabetical;
  for (const CorpusSpec& row : downloadable) known += ", " + row.name;
  for (const WordCorpusSpec& row : word_specs) known += ", " + row.name;
  const TextPlace place = {file_of(options, spec, known), spec, downloadable};
  if (unit == TokenUnit::byte)
    read_bytes(corpus, options, place);
  else if (unit == TokenUnit::subword)
    read_subwords(corpus, options, place);
  else
    read_words(corpus, options, place);
  TANDEM_CHECK(name != kAlphabetical || corpus.unpacked, "{}: not a gzip file", place.path.string());
  // Runs of version 0.1 read the dictionary in alphabetical order under the name gcide.
  if (name == kShuffled && given.trained && !corpus.trained) {
    CorpusOptions in_order = given;
    in_order.name_or_path = kAlphabetical;
    Corpus alphabetical = load_corpus(in_order, downloadable, word_specs);
    if (alphabetical.trained) return alphabetical;
  }
  check_splits(corpus, options);
  return corpus;
}

}  // namespace tandem
