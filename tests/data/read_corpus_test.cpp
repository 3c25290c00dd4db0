// The text of a training run is recognised by its digest, and split as it was then.
#include "tandem/data/read_corpus.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cmath>

#include "tandem/core/safetensors.h"
#include "tests/support/corpora.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

std::string lines_of_text(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) text += fmt::format("line {} of all, w{}\n", i, i % 7);
  return text;
}

TrainedText trained_on(const Corpus& corpus, const CorpusOptions& options) {
  return {.corpus_sha256 = corpus.sha256,
          .text_sha256 = corpus.text_sha256,
          .valid_fraction = options.valid_fraction,
          .test_fraction = options.test_fraction,
          .words = options.words};
}

bool same_split(const Corpus& a, const Corpus& b) {
  return a.train == b.train && a.dev == b.dev && a.test == b.test;
}

// A text, and a corpus of it as a run has read it.
struct Run {
  Cache cache;
  TempDir dir;
  std::string text = lines_of_text(200);
  CorpusOptions options = cache.options(dir / "t.txt");
  Corpus corpus;
  TrainedText trained;

  explicit Run(TokenUnit level, const VocabularyLimit& words = {}) {
    write_text(dir / "t.txt", text);
    options.level = level;
    options.words = words;
    options.valid_fraction = 0.2;
    options.test_fraction = 0.1;
    corpus = load_corpus(options);
    trained = trained_on(corpus, options);
  }
  CorpusOptions later(const fs::path& path) const {
    CorpusOptions options = cache.options(path);
    options.level = corpus.level();
    options.trained = trained;
    return options;
  }
  // Checks that the text is recognised by every name, also by what earlier checkpoints say.
  void check_recognised() {
    fs::create_directory(dir / "sub");
    write_text(dir / "sub/other.txt", text);
    write_gzip(dir / "t.gz", text);
    const std::string digest = trained.text_sha256;
    CHECK(digest == checksum("sha256", as_bytes(text)));
    for (const std::string& known : {digest, std::string()})
      for (const char* name : {"t.txt", "./sub/../t.txt", "sub/other.txt", "t.gz"}) {
        CAPTURE(known);
        CAPTURE(name);
        trained.text_sha256 = known;
        const Corpus again = load_corpus(later(dir / name));
        CHECK(again.trained);
        CHECK(same_split(again, corpus));
        CHECK(again.sha256 == corpus.sha256);
        CHECK(again.text_sha256 == digest);
      }
  }
};

TEST_CASE("read corpus: the bytes of a run are split as in training, whatever their file is called") {
  Run run(TokenUnit::byte);
  run.check_recognised();
  CHECK_FALSE(run.corpus.trained);

  CorpusOptions anew = run.later(run.dir / "t.txt");
  anew.split_anew = true;
  const Corpus other_split = load_corpus(anew);
  CHECK(other_split.trained);
  CHECK(other_split.dev.size() ==
        static_cast<int64_t>(std::floor(0.05 * static_cast<double>(run.text.size()))));
}

TEST_CASE("read corpus: another text under the name of the trained one is split as asked") {
  for (const TokenUnit level : {TokenUnit::byte, TokenUnit::word}) {
    Run run(level);
    write_text(run.dir / "t.txt", run.text + "more\n");
    const Corpus other = load_corpus(run.later(run.dir / "t.txt"));
    CHECK_FALSE(other.trained);
    CorpusOptions plain = run.later(run.dir / "t.txt");
    plain.trained.reset();
    CHECK(same_split(other, load_corpus(plain)));
  }
}

TEST_CASE("read corpus: the words of a run are split as in training, whatever their file is called") {
  Run run(TokenUnit::word, {.size = 50});
  run.check_recognised();
  CHECK(run.trained.corpus_sha256 != checksum("sha256", as_bytes(run.text)));

  // With the model's vocabulary the token file of the run is used, and none is added.
  const size_t files = run.cache.token_files().size();
  CorpusOptions with_vocabulary = run.later(run.dir / "t.txt");
  with_vocabulary.vocabulary = run.corpus.vocabulary;
  const Corpus again = load_corpus(with_vocabulary);
  CHECK(again.trained);
  CHECK(again.sha256 == run.corpus.sha256);
  CHECK(run.cache.token_files().size() == files);
  with_vocabulary.name_or_path = run.dir / "sub/other.txt";
  CHECK(load_corpus(with_vocabulary).sha256 == run.corpus.sha256);
  CHECK(run.cache.token_files().size() == files);

  with_vocabulary.split_anew = true;
  const Corpus anew = load_corpus(with_vocabulary);
  CHECK(anew.trained);
  CHECK(anew.vocabulary == run.corpus.vocabulary);
  CHECK(anew.dev.size() < run.corpus.dev.size());
}

TEST_CASE("read corpus: a run on words with a given vocabulary is recognised by its key") {
  Run run(TokenUnit::word, {.size = 50});
  CorpusOptions options = run.options;
  options.words = {};
  options.vocabulary = run.corpus.vocabulary;
  const Corpus corpus = load_corpus(options);
  CHECK(corpus.sha256 != run.corpus.sha256);
  options.trained = trained_on(corpus, options);
  options.trained->text_sha256.clear();
  options.valid_fraction = options.test_fraction = kDefaultSplitFraction;
  const Corpus again = load_corpus(options);
  CHECK(again.trained);
  CHECK(same_split(again, corpus));
}

TEST_CASE("read corpus: the text of a run of version 0.1 is recognised by what its checkpoint says") {
  const SafetensorsFile checkpoint = SafetensorsFile::open(golden_path("old_run/best.safetensors"));
  const std::string run = checkpoint.metadata().at("run"), key = "\"corpus_sha256\":\"";
  const Cache cache;
  TempDir dir;
  fs::copy(golden_path("old_run/text.txt"), dir / "under another name");
  CorpusOptions options = cache.options(dir / "under another name");
  options.trained = {.corpus_sha256 = run.substr(run.find(key) + key.size(), 64),
                     .text_sha256 = "",
                     .valid_fraction = 0.2,
                     .test_fraction = 0.1,
                     .words = {}};
  const Corpus corpus = load_corpus(options);
  CHECK(corpus.trained);
  CHECK(corpus.dev.size() == corpus.size() / 5);
}

TEST_CASE("read corpus: an empty token file of a text that is not empty says what to remove") {
  Run run(TokenUnit::word);
  const fs::path path = run.corpus.source;
  const TokenFileInfo empty{.source = "", .key = run.corpus.sha256, .splits = {}, .tokens = 0};
  TokenFileWriter(path, empty, run.corpus.vocabulary).commit();
  const std::string message = error_of([&] { load_corpus(run.options); });
  CHECK(contains(message, path.string() + ": holds no token of"));
  CHECK(contains(message, "remove the token file"));
}

TEST_CASE("read corpus: a trained text with impossible fractions is refused") {
  Run run(TokenUnit::byte);
  run.trained.valid_fraction = std::nan("");
  CHECK(contains(error_of([&] { load_corpus(run.later(run.dir / "t.txt")); }), "valid fraction is nan"));
}

TEST_CASE("read corpus: a published corpus is recognised by its bytes, and split as published") {
  TempDir server, cache;
  const std::string text = lines_of_text(500);
  const auto size = static_cast<int64_t>(text.size());
  write_zip(server / "tiny8.zip", "tiny8", text);
  write_text(server / "copy", text);
  for (const char* algorithm : {"sha256", "md5"})
    for (const TokenUnit level : {TokenUnit::byte, TokenUnit::word}) {
      const CorpusSpec spec{.name = "tiny8",
                            .urls = {"file://" + (server / "tiny8.zip").string()},
                            .split_sizes = {size - 3000, 1000, 2000},
                            .content = {algorithm, checksum(algorithm, as_bytes(text))},
                            .zip_sha256 = ""};
      CorpusOptions options;
      options.name_or_path = "tiny8";
      options.data_dir = cache.path();
      options.level = level;
      const Corpus named = load_corpus(options, {spec}, {});
      CHECK(named.text_sha256 == checksum("sha256", as_bytes(text)));
      for (const bool old : {false, true}) {
        options.trained = trained_on(named, options);
        if (old) options.trained->text_sha256.clear();
        options.name_or_path = server / "copy";
        const Corpus by_path = load_corpus(options, {spec}, {});
        CHECK(by_path.trained);
        CHECK(same_split(by_path, named));
        options.name_or_path = "tiny8";
        CHECK(load_corpus(options, {spec}, {}).trained);
      }
    }
}

}  // namespace
}  // namespace tandem::testing
