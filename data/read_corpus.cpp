// Reads, splits and recognises texts.
#include "tandem/data/read_corpus.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <future>
#include <optional>

#include "tandem/core/check.h"
#include "tandem/data/keyed_file.h"
#include "tandem/data/subwords/build_token_file.h"
#include "tandem/data/text_file.h"

namespace tandem {
namespace fs = std::filesystem;

void check_fractions(const CorpusOptions& options) {
  const double valid = options.valid_fraction;
  const double test = options.test_fraction;
  TANDEM_CHECK(valid >= 0 && valid < 1, "valid fraction is {}; it must be at least 0 and below 1", valid);
  TANDEM_CHECK(test >= 0 && test < 1, "test fraction is {}; it must be at least 0 and below 1", test);
  TANDEM_CHECK(valid + test < 1,
               "valid fraction {} and test fraction {} leave nothing to train on; their sum must be below 1",
               valid, test);
}

bool default_fractions(const CorpusOptions& options) {
  return options.valid_fraction == kDefaultSplitFraction && options.test_fraction == kDefaultSplitFraction;
}

namespace {

// Returns the positions where train and dev end in a text of `size` bytes.
std::array<int64_t, 2> ends_by_fractions(int64_t size, const CorpusOptions& options) {
  const auto share = [size](double fraction) {
    return static_cast<int64_t>(std::floor(fraction * static_cast<double>(size)));
  };
  const int64_t test_begin = size - std::min(size, share(options.test_fraction));
  return {test_begin - std::min(test_begin, share(options.valid_fraction)), test_begin};
}

// Returns where they end by the published sizes, or by fractions if there is no `spec`.
std::array<int64_t, 2> ends_of_splits(int64_t size, const CorpusOptions& options, const CorpusSpec* spec,
                                      const std::string& source) {
  if (!spec) return ends_by_fractions(size, options);
  TANDEM_CHECK(size == spec->size(), "{}: {} bytes where {} are expected", source, size, spec->size());
  return {spec->split_sizes[0], spec->split_sizes[0] + spec->split_sizes[1]};
}

WordSource source_in_file(const CorpusOptions& options, const CorpusSpec* spec, const fs::path& path,
                          const Unpacked& text) {
  const auto [train_end, dev_end] = ends_of_splits(text.size, options, spec, path.string());
  return file_source(fs::path(options.name_or_path).filename().string(), path, text.checksum, train_end,
                     dev_end);
}

// Returns the options with the split and the limits that the text had in training.
CorpusOptions as_in_training(CorpusOptions options) {
  options.valid_fraction = options.trained->valid_fraction;
  options.test_fraction = options.trained->test_fraction;
  options.words = options.trained->words;
  check_fractions(options);
  return options;
}

bool is_trained_text(const Corpus& corpus, const TrainedText& trained) {
  return corpus.text_sha256 == (trained.text_sha256.empty() ? trained.corpus_sha256 : trained.text_sha256);
}

// Returns the row whose file is this text, null if there is none.
const CorpusSpec* row_of(const std::vector<CorpusSpec>& rows, const Corpus& text) {
  const auto is_file_of = [&text](const CorpusSpec& row) {
    if (row.size() != std::ssize(text.bytes)) return false;
    const std::string& algorithm = row.content.algorithm;
    return row.content.hex == (algorithm == "sha256" ? text.sha256 : checksum(algorithm, text.bytes));
  };
  const auto found = std::find_if(rows.begin(), rows.end(), is_file_of);
  return found == rows.end() ? nullptr : &*found;
}

}  // namespace

void read_bytes(Corpus& corpus, CorpusOptions& options, TextPlace place) {
  corpus.source = place.path.string();
  if (place.spec) {
    corpus.bytes = read_file(place.path);
  } else {
    TextFile file(place.path);
    corpus.bytes = read_text(file);
    corpus.unpacked = file.is_gzip();
  }
  // Computed on another thread, because the user waits for all of this.
  std::future<std::string> sum = std::async(std::launch::async | std::launch::deferred,
                                            [&corpus] { return checksum("sha256", corpus.bytes); });
  corpus.vocabulary = options.vocabulary ? *options.vocabulary : Vocabulary::of(corpus.bytes);
  corpus.sha256 = corpus.text_sha256 = sum.get();

  corpus.trained = options.trained && is_trained_text(corpus, *options.trained);
  if (corpus.trained && !options.split_anew) {
    options = as_in_training(options);
    if (!place.spec && default_fractions(options)) place.spec = row_of(place.published, corpus);
  }
  const auto size = static_cast<int64_t>(corpus.bytes.size());
  const auto [train_end, dev_end] = ends_of_splits(size, options, place.spec, corpus.source);
  corpus.train = {0, train_end};
  corpus.dev = {train_end, dev_end};
  corpus.test = {dev_end, size};
}

namespace {

WordOptions word_options(const CorpusOptions& options) {
  return {.limit = options.words,
          .vocabulary = options.vocabulary,
          .data_dir = options.data_dir,
          .progress = options.progress};
}

void take_token_file(Corpus& corpus, TokenFile file) {
  corpus.words = std::move(file);
  const TokenFileInfo& info = corpus.words.info();
  corpus.source = corpus.words.path().string();
  corpus.train = info.splits[kTrain];
  corpus.dev = info.splits[kDev];
  corpus.test = info.splits[kTest];
  corpus.vocabulary = corpus.words.vocabulary();
  corpus.sha256 = info.key;
}

// Reads a text through, and fills what tells it from others. Error: a pipe, since the text is read again.
Unpacked identify(Corpus& corpus, const TextPlace& place, TokenUnit unit) {
  std::error_code missing;
  TANDEM_CHECK(
      !fs::is_fifo(place.path, missing),
      "{}: is a pipe, and {}s are read several times; write the text into a file first, or read it as bytes",
      place.path.string(), name_of(unit));
  TextFile file(place.path);
  const Unpacked text = read_through(file, "sha256");
  corpus.text_sha256 = text.checksum;
  corpus.unpacked = file.is_gzip();
  return text;
}

// Returns the text of training, split as it was then, if its token file has the key of the run: by the fractions, or as
// a published corpus of the same size.
std::optional<WordSource> source_in_training(const CorpusOptions& in_training, const TextPlace& place,
                                             const Unpacked& text) {
  std::vector<const CorpusSpec*> splits = {place.spec};
  for (const CorpusSpec& row : place.published)
    if (!place.spec && row.size() == text.size) splits.push_back(&row);
  for (const CorpusSpec* split : splits) {
    const WordSource source = source_in_file(in_training, split, place.path, text);
    if (has_key(source, word_options(in_training), in_training.trained->corpus_sha256)) return source;
  }
  return std::nullopt;
}

}  // namespace

void read_words(Corpus& corpus, CorpusOptions& options, const TextPlace& place) {
  const Unpacked text = identify(corpus, place, TokenUnit::word);
  WordSource source = source_in_file(options, place.spec, place.path, text);
  if (options.trained) {
    const CorpusOptions in_training = as_in_training(options);
    const std::optional<WordSource> then = source_in_training(in_training, place, text);
    corpus.trained = then || is_trained_text(corpus, *options.trained);
    if (corpus.trained && !options.split_anew) {
      source = then ? *then : source_in_file(in_training, place.spec, place.path, text);
      options = in_training;
    }
  }
  take_token_file(corpus, load_token_file(source, word_options(options)));
  TANDEM_CHECK(
      corpus.size() > 0 || text.size == 0,
      "{}: holds no token of {}, which has {} bytes: the text was altered while it was encoded; remove the token file",
      corpus.source, corpus.name, text.size);
}

namespace {

SubwordSource subwords_in_file(const CorpusOptions& options, const CorpusSpec* spec, const fs::path& path,
                               const Unpacked& text) {
  const auto [train_end, dev_end] = ends_of_splits(text.size, options, spec, path.string());
  return {.name = fs::path(options.name_or_path).filename().string(),
          .path = path,
          .sha256 = text.checksum,
          .train_end = train_end,
          .dev_end = dev_end};
}

// Returns the text of training, split as it was then: by fractions or, if that gives the tokens of the run, as a published
// corpus of the same size.
SubwordSource subwords_in_training(const CorpusOptions& in_training, const TextPlace& place,
                                   const Unpacked& text) {
  if (!place.spec && in_training.vocabulary && default_fractions(in_training))
    for (const CorpusSpec& row : place.published) {
      if (row.size() != text.size) continue;
      SubwordSource source = subwords_in_file(in_training, &row, place.path, text);
      if (token_file_key(source, *in_training.vocabulary) == in_training.trained->corpus_sha256)
        return source;
    }
  return subwords_in_file(in_training, place.spec, place.path, text);
}

}  // namespace

void read_subwords(Corpus& corpus, CorpusOptions& options, const TextPlace& place) {
  const Unpacked text = identify(corpus, place, TokenUnit::subword);
  corpus.trained = options.trained && is_trained_text(corpus, *options.trained);
  SubwordSource source;
  if (corpus.trained && !options.split_anew) {
    options = as_in_training(options);
    source = subwords_in_training(options, place, text);
  } else {
    source = subwords_in_file(options, place.spec, place.path, text);
  }
  take_token_file(corpus, load_subword_file(source, {.size = options.words.size,
                                                     .vocabulary = options.vocabulary,
                                                     .data_dir = options.data_dir,
                                                     .progress = options.progress}));
}

void read_benchmark(Corpus& corpus, CorpusOptions& options, const WordCorpusSpec& spec) {
  const WordSource source = word_source(spec, options.url, word_options(options));
  corpus.text_sha256 = sha256_of(source.checksum + '\n' + source.splits);
  if (options.trained) {
    CorpusOptions in_training = options;
    in_training.words = options.trained->words;
    corpus.trained = is_trained_text(corpus, *options.trained) ||
                     has_key(source, word_options(in_training), options.trained->corpus_sha256);
    if (corpus.trained && !options.split_anew) options = in_training;
  }
  take_token_file(corpus, load_token_file(source, word_options(options)));
}

}  // namespace tandem
