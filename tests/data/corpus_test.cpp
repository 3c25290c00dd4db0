// Corpora by name and by path: splits, vocabulary, checksums, errors; the real gcide where its package is
// installed.
#include "tandem/data/corpus.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <thread>

#include "tests/support/corpora.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

std::string string_of(std::span<const uint8_t> bytes) {
  return {bytes.begin(), bytes.end()};
}

CorpusOptions named(const std::string& name, double valid = kDefaultSplitFraction,
                    double test = kDefaultSplitFraction) {
  CorpusOptions options;
  options.name_or_path = name;
  options.valid_fraction = valid;
  options.test_fraction = test;
  return options;
}

TEST_CASE("corpus: any file, split by position") {
  TempDir dir;
  const std::string text = noisy_text(1'999) + '\0';
  const std::string path = dir / "file.bin";
  write_text(path, text);
  const Corpus corpus = load_corpus(named(path));
  CHECK(corpus.name == path);
  CHECK(corpus.source == path);
  CHECK(string_of(corpus.bytes) == text);
  CHECK(text_of(corpus, "train") == text.substr(0, 1800));
  CHECK(text_of(corpus, "dev") == text.substr(1800, 100));
  CHECK(text_of(corpus, "test") == text.substr(1900));
  CHECK(text_of(corpus, "all") == text);
  CHECK(corpus.vocabulary == Vocabulary::of(as_bytes(text)));
  // Only the test split has this byte: the vocabulary is that of the whole file.
  CHECK(corpus.vocabulary.id(0) == 0);
  CHECK(corpus.sha256 == checksum("sha256", as_bytes(text)));
  CHECK(contains(error_of([&] { corpus.split("valid"); }), "'valid'; there are train, dev, test and all"));

  const Corpus other = load_corpus(named(path, 0.25, 0.1));
  CHECK(other.train.size() == 1300);
  CHECK(other.dev.size() == 500);
  CHECK(other.test.size() == 200);
}

TEST_CASE("corpus: a gzip file stands for its content, as bytes and as words") {
  const Cache cache;
  TempDir dir;
  std::string text;
  for (int i = 0; i < 300; ++i) text += "some words of line " + std::to_string(i) + "\n";
  write_gzip(dir / "t.gz", text);
  CorpusOptions options = cache.options(dir / "t.gz");
  const Corpus bytes = load_corpus(options);
  CHECK(bytes.unpacked);
  CHECK(text_of(bytes, "all") == text);
  CHECK(bytes.source == (dir / "t.gz").string());
  CHECK(bytes.sha256 == checksum("sha256", as_bytes(text)));
  options.level = TokenUnit::word;
  const Corpus words = load_corpus(options);
  CHECK(words.unpacked);
  CHECK(text_of(words, "train") == text.substr(0, text_of(words, "train").size()));
  CHECK(words.text_sha256 == bytes.text_sha256);
  write_text(dir / "t.txt", text);
  CHECK_FALSE(load_corpus(named(dir / "t.txt")).unpacked);
}

TEST_CASE("corpus: packed files are refused as bytes and as words") {
  const Cache cache;
  TempDir dir;
  write_zip(dir / "t.zip", "t", noisy_text(5000));
  for (const TokenUnit level : {TokenUnit::byte, TokenUnit::word}) {
    CorpusOptions options = cache.options(dir / "t.zip");
    options.level = level;
    CHECK(contains(error_of([&] { load_corpus(options); }), "t.zip: is a zip archive"));
  }
  CHECK(cache.token_files().empty());
}

TEST_CASE("corpus: a pipe is read as bytes, and refused as words") {
  const Cache cache;
  TempDir dir;
  const std::string text = noisy_text(100'000);
  const fs::path pipe = dir / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CorpusOptions options = cache.options(pipe);
  options.level = TokenUnit::word;
  CHECK(contains(error_of([&] { load_corpus(options); }), "pipe: is a pipe, and words are read several"));
  CHECK(cache.token_files().empty());
  options.level = TokenUnit::byte;
  std::thread writer([&] { write_text(pipe, text); });
  CHECK(text_of(load_corpus(options), "all") == text);
  writer.join();
}

TEST_CASE("corpus: a password in a URL that has no use is not shown") {
  CorpusOptions options = named("gcide");
  options.url = "https://me:secret@host/file";
  const std::string message = error_of([&] { load_corpus(options); });
  CHECK(contains(message, "https://***@host/file"));
  CHECK(message.find("secret") == std::string::npos);
}

TEST_CASE("corpus: splits are adjacent and complete at every size") {
  TempDir dir;
  for (size_t size = 2; size < 200; size += 3) {
    const std::string path = dir / "file";
    write_text(path, noisy_text(size));
    for (const double valid : {0.0, 0.05, 0.3})
      for (const double test : {0.0, 0.1, 0.69}) {
        CAPTURE(size);
        CAPTURE(valid);
        CAPTURE(test);
        const auto dev_size = static_cast<int64_t>(std::floor(valid * static_cast<double>(size)));
        const auto test_size = static_cast<int64_t>(std::floor(test * static_cast<double>(size)));
        const bool enough = (valid == 0 || dev_size >= 2) && (test == 0 || test_size >= 2) &&
                            static_cast<int64_t>(size) - dev_size - test_size >= 2;
        if (!enough) {
          CHECK(contains(error_of([&] { load_corpus(named(path, valid, test)); }), "each needs at least 2"));
          continue;
        }
        const Corpus corpus = load_corpus(named(path, valid, test));
        CHECK(corpus.train.begin == 0);
        CHECK(corpus.train.end == corpus.dev.begin);
        CHECK(corpus.dev.end == corpus.test.begin);
        CHECK(corpus.test.end == static_cast<int64_t>(size));
        CHECK(corpus.dev.size() == dev_size);
        CHECK(corpus.test.size() == test_size);
      }
  }
}

TEST_CASE("corpus: bad names, files and fractions") {
  TempDir dir;
  const std::string unknown = error_of([] { load_corpus(named("enwik7")); });
  CHECK(contains(unknown,
                 "'enwik7' is neither a corpus (gcide, gcide-alphabetical, enwik8, text8, "
                 "wikitext-103, wikitext-2, ptb, lm1b) nor an existing file"));
  CHECK(contains(error_of([] { load_corpus(named("")); }), "''"));
  CHECK(contains(error_of([&] { load_corpus(named(dir.path())); }), "is a folder"));

  const std::string path = dir / "file";
  write_text(path, "");
  CHECK(contains(error_of([&] { load_corpus(named(path)); }), "0 bytes split into 0"));
  write_text(path, noisy_text(39));  // 5 % of it is one byte
  const std::string small = error_of([&] { load_corpus(named(path)); });
  CHECK(contains(small, path));
  CHECK(contains(small, "39 bytes split into 37 for training, 1 for dev and 1 for test"));
  CHECK(contains(small, "longer file"));
  CHECK_NOTHROW(load_corpus(named(path, 0, 0)));

  write_text(path, noisy_text(1000));
  CHECK(contains(error_of([&] { load_corpus(named(path, -0.1)); }), "valid fraction is -0.1"));
  CHECK(contains(error_of([&] { load_corpus(named(path, 1)); }), "valid fraction is 1"));
  CHECK(contains(error_of([&] { load_corpus(named(path, 0.05, 1.5)); }), "test fraction is 1.5"));
  CHECK(contains(error_of([&] { load_corpus(named(path, std::nan(""))); }), "valid fraction is nan"));
  CHECK(contains(error_of([&] { load_corpus(named(path, 0.5, 0.5)); }), "leave nothing to train on"));
  CorpusOptions with_url = named(path);
  with_url.url = "file:///somewhere";
  CHECK(contains(error_of([&] { load_corpus(with_url); }), "leave it out"));
}

TEST_CASE("corpus: a downloaded corpus has its own split and takes no fractions") {
  TempDir server, cache;
  const std::string text = noisy_text(10'000);
  const fs::path zip = server / "tiny8.zip";
  write_zip(zip, "tiny8", text);
  CorpusSpec spec{.name = "tiny8",
                  .urls = {"http://127.0.0.1:1/tiny8.zip"},
                  .split_sizes = {9'000, 700, 300},
                  .content = {"md5", checksum("md5", as_bytes(text))},
                  .zip_sha256 = file_checksum("sha256", zip)};
  CorpusOptions options = named("tiny8");
  options.data_dir = cache.path();
  const ScopedEnv no_proxy("no_proxy", "*");
  const std::string no_network = error_of([&] { load_corpus(options, {spec}, {}); });
  CHECK(contains(no_network, "http://127.0.0.1:1/tiny8.zip"));
  CHECK(contains(no_network, "use the corpus gcide"));

  options.url = "file://" + zip.string();
  std::string stages;
  options.progress = [&stages](std::string_view what, int64_t, int64_t) { stages += what; };
  const Corpus corpus = load_corpus(options, {spec}, {});
  CHECK(contains(stages, "downloading file://"));
  CHECK(contains(stages, "unpacking tiny8"));
  CHECK(corpus.name == "tiny8");
  CHECK(corpus.source == (cache / "tiny8").string());
  CHECK(text_of(corpus, "train") == text.substr(0, 9'000));
  CHECK(text_of(corpus, "dev") == text.substr(9'000, 700));
  CHECK(text_of(corpus, "test") == text.substr(9'700));

  options.url.clear();  // the corpus is in the data folder now
  CHECK(load_corpus(options, {spec}, {}).sha256 == corpus.sha256);
  options.valid_fraction = 0.1;
  CHECK(contains(error_of([&] { load_corpus(options, {spec}, {}); }),
                 "tiny8 is always split into 9000 / 700 / 300 bytes, as published"));

  spec.split_sizes = {9'000, 700, 301};  // a table row that contradicts its own checksum
  CHECK(contains(error_of([&] { load_corpus(named("tiny8"), {}, {}); }),
                 "neither a corpus (gcide, gcide-alphabetical) nor"));
  options.valid_fraction = kDefaultSplitFraction;
  CHECK(
      contains(error_of([&] { load_corpus(options, {spec}, {}); }), "10000 bytes where 10001 are expected"));
}

TEST_CASE("corpus: gcide is found in the data folder first, and a broken one is an error") {
  TempDir dir;
  const std::string text = noisy_text(50'000);
  const fs::path dz = dir / "gcide.dict.dz";
  write_gzip(dz, text);
  const ScopedEnv data("TANDEM_DATA", dir.path().c_str());
  const Corpus corpus = load_corpus(named("gcide-alphabetical"));
  CHECK(corpus.source == dz.string());
  CHECK(string_of(corpus.bytes) == text);
  CHECK(corpus.train.size() == 45'000);
  CHECK(corpus.dev.size() == 2'500);
  CHECK(load_corpus(named("gcide-alphabetical", 0.1, 0.2)).train.size() == 35'000);
  CHECK(load_corpus(named("gcide", 0.1, 0.2)).source == (dir / "gcide.txt"));

  const std::string whole = read_text(dz);
  write_text(dz, whole.substr(0, whole.size() / 2));
  const std::string truncated = error_of([] { load_corpus(named("gcide")); });
  CHECK(contains(truncated, dz.string()));
  CHECK(contains(truncated, "truncated"));
  CorpusOptions with_url = named("gcide");
  with_url.url = "http://somewhere";
  CHECK(contains(error_of([&] { load_corpus(with_url); }), "gcide: is not downloaded"));
}

TEST_CASE("corpus: where gcide is looked for, and the error when it is nowhere") {
  const std::vector<fs::path> places = gcide_places("/my/data");
  REQUIRE(places.size() >= 2);
  CHECK(places.front() == "/my/data/gcide.dict.dz");
  CHECK(places.back() == "/usr/share/dictd/gcide.dict.dz");
  CHECK(gcide_places("").size() == places.size() - 1);

  TempDir dir;
  const std::string message = error_of([&] { find_gcide({dir / "a", dir / "b"}); });
  CHECK(contains(message, "\n  " + (dir / "a").string() + "\n  " + (dir / "b").string()));
  CHECK(contains(message, "tools/setup"));
  CHECK(contains(message, "apt install dict-gcide"));
  write_text(dir / "b", "");
  CHECK(find_gcide({dir / "a", dir / "b"}) == dir / "b");
}

TEST_CASE("corpus: the real gcide") {
  TempDir empty;
  const std::vector<fs::path> places = gcide_places(empty.path());
  if (std::none_of(places.begin(), places.end(), [](const fs::path& place) { return fs::exists(place); })) {
    MESSAGE("skipped: the package dict-gcide is not installed");
    return;
  }
  CorpusOptions options = named("gcide");
  options.data_dir = empty.path();
  const Corpus corpus = load_corpus(options);
  CHECK(corpus.train.size() + corpus.dev.size() + corpus.test.size() == corpus.size());
  CHECK(corpus.dev.size() == corpus.size() / 20);
  CHECK(corpus.test.size() == corpus.size() / 20);
  CHECK(corpus.vocabulary.id('\n') >= 0);
  options.name_or_path = "gcide-alphabetical";
  const Corpus alphabetical = load_corpus(options);
  CHECK(alphabetical.size() == corpus.size());
  CHECK(alphabetical.vocabulary == corpus.vocabulary);
  // Other releases of the package hold other text; the figures are those of 0.48.5.
  if (alphabetical.sha256 == "802beb667e1fb666203e750f1faea60d5c202ac5430c2083c4180494609f10a7") {
    CHECK(corpus.sha256 == "f31acf69fd6e50ba17a298928c77b179f3d2873dae4551f34a195da7d97f6abb");
    CHECK(corpus.bytes.size() == 39'952'321);
    CHECK(corpus.vocabulary.size() == 99);
    CHECK(corpus.vocabulary.to_hex().substr(0, 6) == "0a2021");
  } else {
    MESSAGE("another release: " << corpus.bytes.size() << " bytes, sha256 " << alphabetical.sha256);
    CHECK(corpus.bytes.size() > 30'000'000);
  }
}

}  // namespace
}  // namespace tandem::testing
