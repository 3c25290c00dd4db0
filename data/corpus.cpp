// Loading of corpora: from Debian's dictionary package, from the download cache, from any file.
#include "data/corpus.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace tandem {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMinSplitBytes = 2;  // one prediction

void split_by_fractions(Corpus& corpus, const CorpusOptions& options) {
  const double valid = options.valid_fraction;
  const double test = options.test_fraction;
  const size_t size = corpus.bytes.size();
  const auto share = [size](double fraction) { return static_cast<size_t>(std::floor(fraction * size)); };
  const size_t dev_size = share(valid);
  const size_t test_size = share(test);
  const size_t train_size = size - std::min(size, dev_size + test_size);
  const bool enough = train_size >= kMinSplitBytes && (valid == 0 || dev_size >= kMinSplitBytes) &&
                      (test == 0 || test_size >= kMinSplitBytes);
  CHECK(enough,
        "{}: {} bytes split into {} for training, {} for dev and {} for test; each needs at least {}: use a "
        "longer file "
        "or other fractions (0 for no dev or test part)",
        corpus.source, size, train_size, dev_size, test_size, kMinSplitBytes);
  corpus.train = {0, train_size};
  corpus.dev = {train_size, train_size + dev_size};
  corpus.test = {train_size + dev_size, size};
}

void split_by_sizes(Corpus& corpus, const CorpusSpec& spec) {
  CHECK(static_cast<int64_t>(corpus.bytes.size()) == spec.size(), "{}: {} bytes where {} are expected",
        corpus.source, corpus.bytes.size(), spec.size());
  const auto train_size = static_cast<size_t>(spec.split_sizes[0]);
  const auto dev_size = static_cast<size_t>(spec.split_sizes[1]);
  corpus.train = {0, train_size};
  corpus.dev = {train_size, train_size + dev_size};
  corpus.test = {train_size + dev_size, corpus.bytes.size()};
}

void check_options(const CorpusOptions& options, const CorpusSpec* spec) {
  const double valid = options.valid_fraction;
  const double test = options.test_fraction;
  CHECK(valid >= 0 && valid < 1, "valid fraction is {}; it must be at least 0 and below 1", valid);
  CHECK(test >= 0 && test < 1, "test fraction is {}; it must be at least 0 and below 1", test);
  CHECK(valid + test < 1,
        "valid fraction {} and test fraction {} leave nothing to train on; their sum must be below 1", valid,
        test);
  if (spec) {
    CHECK(valid == kDefaultSplitFraction && test == kDefaultSplitFraction,
          "{} is always split into {} / {} / {} bytes, as published results are; leave out the fractions",
          spec->name, spec->split_sizes[0], spec->split_sizes[1], spec->split_sizes[2]);
  } else {
    CHECK(options.url.empty(), "{}: is not downloaded, so a URL ({}) has no use; leave it out",
          options.name_or_path, options.url);
  }
}

}  // namespace

std::span<const uint8_t> Corpus::split(std::string_view split_name) const {
  ByteRange range;
  if (split_name == "train") {
    range = train;
  } else if (split_name == "dev") {
    range = dev;
  } else if (split_name == "test") {
    range = test;
  } else {
    CHECK(split_name == "all", "no split is named '{}'; there are train, dev, test and all", split_name);
    range = {0, bytes.size()};
  }
  return std::span(bytes).subspan(range.begin, range.size());
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
      "install "
      "dict-gcide`, or put the file into the first of these folders.",
      looked);
}

Corpus load_corpus(const CorpusOptions& options, const std::vector<CorpusSpec>& downloadable) {
  const std::string& name = options.name_or_path;
  const auto found = std::find_if(downloadable.begin(), downloadable.end(),
                                  [&name](const CorpusSpec& spec) { return spec.name == name; });
  const CorpusSpec* spec = found == downloadable.end() ? nullptr : &*found;
  check_options(options, spec);

  Corpus corpus;
  corpus.name = name;
  std::error_code missing;
  if (spec) {
    FetchOptions fetch{
        .data_dir = options.data_dir, .url = options.url, .progress = options.progress, .download = {}};
    corpus.source = fetch_corpus(*spec, fetch).string();
    corpus.bytes = read_file(corpus.source);
    split_by_sizes(corpus, *spec);
  } else if (name == "gcide") {
    const fs::path data_dir = options.data_dir.empty() ? default_data_dir() : options.data_dir;
    corpus.source = find_gcide(gcide_places(data_dir)).string();
    corpus.bytes = read_gzip(corpus.source);
    split_by_fractions(corpus, options);
  } else {
    std::string names = "gcide";
    for (const CorpusSpec& known : downloadable) names += ", " + known.name;
    CHECK(!name.empty() && fs::exists(name, missing),
          "'{}' is neither a corpus ({}) nor an existing file; name one of them", name, names);
    corpus.source = name;
    corpus.bytes = read_file(name);
    split_by_fractions(corpus, options);
  }
  corpus.vocabulary = Vocabulary::of(corpus.bytes);
  corpus.sha256 = checksum("sha256", corpus.bytes);
  return corpus;
}

}  // namespace tandem
