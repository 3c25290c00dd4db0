// Texts read as subwords: the split, what the vocabulary is learnt from, the files that are kept, and texts of a run.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <array>
#include <thread>

#include "tandem/data/corpus.h"
#include "tandem/data/subwords/learn.h"
#include "tandem/data/subwords/units.h"
#include "tests/support/corpora.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

// Lines with characters of several bytes, at which splits may cut.
std::string lines_of_text(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) text += fmt::format("Zeile {} über größere Wörter, wört{}\n", i, i % 7);
  return text;
}

// A text in a file, and the options to read it as subwords.
struct Text {
  Cache cache;
  TempDir dir;
  std::string text = lines_of_text(400);
  CorpusOptions options = cache.options(dir / "t.txt");

  Text() {
    write(text);
    options.level = TokenUnit::subword;
    options.words.size = 310;
  }
  void write(const std::string& changed) { write_text(dir / "t.txt", changed); }
  size_t files(const std::string& ending) const {
    size_t count = 0;
    for (const auto& entry : fs::directory_iterator(cache.dir.path()))
      count += entry.path().extension() == ending;
    return count;
  }
};

TEST_CASE("subword corpus: the parts are the same bytes as at the level of bytes, wherever they are cut") {
  Text t;
  for (const double valid : {0.0, 0.05, 0.2, 0.2001, 0.2002})
    for (const double test : {0.0, 0.1}) {
      CAPTURE(valid);
      CAPTURE(test);
      CorpusOptions options = t.options;
      options.valid_fraction = valid;
      options.test_fraction = test;
      const Corpus subwords = load_corpus(options);
      options.level = TokenUnit::byte;
      options.words = {};
      const Corpus bytes = load_corpus(options);
      for (const char* split : {"train", "dev", "test", "all"})
        CHECK(text_of(subwords, split) == text_of(bytes, split));
      CHECK(subwords.level() == TokenUnit::subword);
      CHECK(subwords.vocabulary.size() == 310);
      CHECK(subwords.text_sha256 == bytes.sha256);
      CHECK(subwords.size() < bytes.size() / 2);
      CHECK(text_bytes(subwords.split("dev"), subwords.vocabulary, 0, subwords.dev.size()) ==
            bytes.dev.size());
    }
}

TEST_CASE("subword corpus: the vocabulary is learnt from train alone") {
  Text t;
  t.options.valid_fraction = 0.2;
  t.options.test_fraction = 0.1;
  const Corpus corpus = load_corpus(t.options);
  const auto train_end =
      static_cast<size_t>(text_bytes(corpus.split("train"), corpus.vocabulary, 0, corpus.train.size()));
  CHECK(corpus.vocabulary.subwords().model() ==
        learn_subwords(count_units(t.text.substr(0, train_end)), 310, "t.txt"));
  std::string held_out_changed = t.text;
  for (size_t i = train_end; i < t.text.size(); ++i) held_out_changed[i] = "xyz xyzxyz\n"[i % 11];
  t.write(held_out_changed);
  const Corpus other = load_corpus(t.options);
  CHECK(other.vocabulary == corpus.vocabulary);
  CHECK(other.text_sha256 != corpus.text_sha256);
  CHECK(text_of(other, "all") == held_out_changed);

  std::string train_changed = t.text;
  for (size_t i = 0; i < train_end; ++i) train_changed[i] = "xyz xyzxyq\n"[i % 11];
  t.write(train_changed + lines_of_text(1000));
  CHECK_FALSE(load_corpus(t.options).vocabulary == corpus.vocabulary);
}

TEST_CASE("subword corpus: the files are the same bytes for any number of threads, and are made once") {
  Text t;
  t.text = lines_of_text(150'000);  // more than one block
  t.write(t.text);
  Corpus one;
  {
    const Threads single(1);
    one = load_corpus(t.options);
  }
  const std::string tokens = read_text(one.source);
  CHECK(fs::path(one.source).filename().string().starts_with("t.txt-" + one.sha256.substr(0, 16)));
  CHECK(t.files(".tokens") == 1);
  CHECK(t.files(".subwords") == 1);
  bool built = false;
  t.options.progress = [&built](std::string_view what, int64_t, int64_t) {
    built |= what.starts_with("learning");
  };
  CHECK(load_corpus(t.options).sha256 == one.sha256);
  CHECK_FALSE(built);

  for (const auto& entry : fs::directory_iterator(t.cache.dir.path())) fs::remove(entry.path());
  const Threads several(3);
  const Corpus three = load_corpus(t.options);
  CHECK(built);
  CHECK(three.sha256 == one.sha256);
  CHECK(three.vocabulary == one.vocabulary);
  CHECK(read_text(three.source) == tokens);
  CHECK(text_of(three, "all") == t.text);
}

TEST_CASE("subword corpus: a text of a run is split as in training and read by its vocabulary") {
  Text t;
  t.options.valid_fraction = 0.2;
  t.options.test_fraction = 0.1;
  const Corpus corpus = load_corpus(t.options);
  fs::create_directory(t.dir / "sub");
  write_text(t.dir / "sub/other.txt", t.text);
  write_gzip(t.dir / "t.gz", t.text);
  for (const char* name : {"t.txt", "./sub/../t.txt", "sub/other.txt", "t.gz"}) {
    CAPTURE(name);
    CorpusOptions later = t.cache.options(t.dir / name);
    later.vocabulary = corpus.vocabulary;  // as evaluate does: it brings the level
    later.trained = TrainedText{.corpus_sha256 = corpus.sha256,
                                .text_sha256 = corpus.text_sha256,
                                .valid_fraction = 0.2,
                                .test_fraction = 0.1,
                                .words = {.size = 310}};
    const Corpus again = load_corpus(later);
    CHECK(again.trained);
    CHECK(again.sha256 == corpus.sha256);
    CHECK((again.dev == corpus.dev));
    later.split_anew = true;
    CHECK(text_bytes(load_corpus(later).split("dev"), corpus.vocabulary, 0, 1) > 0);
    CHECK(load_corpus(later).dev.size() < corpus.dev.size());
  }
  CHECK(t.files(".subwords") == 1);
  CHECK(t.files(".tokens") == 2);  // one for each split

  // Another text by the same vocabulary.
  CorpusOptions other = t.cache.options(t.dir / "other.bin");
  const std::string noise = noisy_text(2000) + std::string("\0\xff\xfe\t\r\n", 6);
  write_text(t.dir / "other.bin", noise);
  other.vocabulary = corpus.vocabulary;
  other.valid_fraction = other.test_fraction = 0;
  CHECK(text_of(load_corpus(other), "all") == noise);
}

TEST_CASE("subword corpus: files of the data folder that are damaged are refused") {
  Text t;
  const Corpus corpus = load_corpus(t.options);
  fs::path model;
  for (const auto& entry : fs::directory_iterator(t.cache.dir.path()))
    if (entry.path().extension() == ".subwords") model = entry.path();
  const std::string whole = read_text(model);
  for (const size_t at : {size_t{3}, whole.size() / 2, whole.size() - 1}) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    write_text(model, damaged);
    CHECK(contains(error_of([&] { load_corpus(t.options); }), model.string() + ": damaged: "));
  }
  write_text(model, whole.substr(0, whole.size() / 2));
  CHECK(contains(error_of([&] { load_corpus(t.options); }), "remove it, and it is made again"));
  fs::remove(model);
  CHECK(load_corpus(t.options).sha256 == corpus.sha256);

  const std::string tokens = read_text(corpus.source);
  std::string damaged = tokens;
  damaged[damaged.size() - 20] = static_cast<char>(damaged[damaged.size() - 20] ^ 1);  // in the model
  write_text(corpus.source, damaged);
  CHECK(contains(error_of([&] { load_corpus(t.options); }), corpus.source + ": damaged: "));
}

TEST_CASE("subword corpus: errors") {
  Text t;
  t.options.words.min_count = 2;
  CHECK(contains(error_of([&] { load_corpus(t.options); }), "has a size and no smallest count"));
  t.options.words = {.size = 100};
  CHECK(contains(error_of([&] { load_corpus(t.options); }), "a vocabulary of 100 subwords cannot be learnt"));
  t.options.words = {};  // the default
  CHECK(contains(error_of([&] { load_corpus(t.options); }), "subwords, and 8000 are asked for"));
  CHECK(t.cache.token_files().empty());
  t.options.words.size = 310;
  t.options.progress = [&t](std::string_view what, int64_t, int64_t) {
    if (what.starts_with("learning")) t.write(t.text + "more\n");
  };
  CHECK(contains(error_of([&] { load_corpus(t.options); }), "t.txt: was altered while it was read"));
  CHECK(t.cache.token_files().empty());
  CHECK(t.files(".subwords") == 0);
  t.options.progress = {};
  t.write("");
  CHECK(contains(error_of([&] { load_corpus(t.options); }), "no text to learn subwords from"));

  t.options.level = TokenUnit::byte;
  CHECK(contains(error_of([&] { load_corpus(t.options); }),
                 "a vocabulary of bytes has no limits; size (--vocab-size)"));
  CorpusOptions benchmark = t.cache.options("ptb");
  benchmark.level = TokenUnit::subword;
  CHECK(contains(error_of([&] { load_corpus(benchmark); }),
                 "ptb: is a benchmark of words, and has no level of subwords"));
}

TEST_CASE("subword corpus: two threads at a time make one file each") {
  Text t;
  std::vector<std::thread> threads;
  std::array<std::string, 3> results;
  for (std::string& result : results)
    threads.emplace_back([&t, &result] {
      try {
        result = load_corpus(t.options).sha256;
      } catch (const std::exception& error) {
        result = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) CHECK(result == results[0]);
  CHECK(results[0].size() == 64);
  CHECK(t.files(".tokens") == 1);
}

}  // namespace
}  // namespace tandem::testing
