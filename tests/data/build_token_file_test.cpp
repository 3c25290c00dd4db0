// Token files of any text: splits, limits of the vocabulary, and files that are built once.
#include "tandem/data/words/build_token_file.h"

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "tests/support/corpora.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

std::string lines_of_text(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) text += fmt::format("line {} of all, w{}\n", i, i % 7);
  return text;
}

TEST_CASE("word tokens: any file, split at the borders of lines") {
  const Cache cache;
  const TempDir dir;
  const std::string path = dir / "file.txt";
  const std::string text = lines_of_text(100);
  write_text(path, text);
  for (const double valid : {0.0, 0.05, 0.3})
    for (const double test : {0.0, 0.1, 0.5}) {
      CAPTURE(valid);
      CAPTURE(test);
      CorpusOptions options = cache.options(path);
      options.level = TokenUnit::word;
      options.valid_fraction = valid;
      options.test_fraction = test;
      const Corpus corpus = load_corpus(options);
      const auto size = static_cast<double>(text.size());
      const auto test_size = static_cast<size_t>(test * size), dev_size = static_cast<size_t>(valid * size);
      // Position of the first line that begins at or after `at`.
      const auto border = [&text](size_t at) { return at == 0 ? 0 : text.find('\n', at - 1) + 1; };
      const size_t train_end = border(text.size() - test_size - dev_size);
      const size_t dev_end = std::max(train_end, border(text.size() - test_size));
      CHECK(corpus.train.size() ==
            6 * std::count(text.begin(), text.begin() + static_cast<long>(train_end), '\n'));
      CHECK(corpus.train.size() + corpus.dev.size() ==
            6 * std::count(text.begin(), text.begin() + static_cast<long>(dev_end), '\n'));
      CHECK(corpus.size() == 600);
      CHECK(corpus.train.end == corpus.dev.begin);
      CHECK(corpus.dev.end == corpus.test.begin);
      CHECK((valid > 0) == (corpus.dev.size() > 0));
      CHECK((test > 0) == (corpus.test.size() > 0));
      CHECK(text_of(corpus, "train").substr(0, 20) == text.substr(0, 20));
    }
}

TEST_CASE("word tokens: limits of the vocabulary, and the names of their token files") {
  const Cache cache;
  const TempDir dir;
  const std::string path = dir / "file.txt";
  write_text(path, lines_of_text(100));
  CorpusOptions options = cache.options(path);
  options.level = TokenUnit::word;
  const Corpus all = load_corpus(options);
  const int64_t lines = all.train.size() / 6;
  // "line", "of", "all,"; w0 .. w6; the numbers of the lines; <eos>, <unk>
  CHECK(all.vocabulary.size() == 3 + 7 + lines + 2);
  const int32_t unknown = all.vocabulary.words().unknown();
  CHECK(all.split("dev")[1] == unknown);  // a number that does not occur in train
  CHECK(fs::path(cache.token_files().at(0))
            .filename()
            .string()
            .starts_with("file.txt-" + all.sha256.substr(0, 16)));

  options.words.size = 6;
  const Corpus few = load_corpus(options);
  CHECK(few.vocabulary.words().text() == "<unk>\n<eos>\nall,\nline\nof\nw0\n");
  CHECK(few.sha256 != all.sha256);
  options.words = {.size = 0, .min_count = lines / 7};
  CHECK(load_corpus(options).vocabulary.size() == 5 + 7);
  CHECK(cache.token_files().size() == 3);

  // Another vocabulary makes another token file; the text's own finds the file that exists.
  options = cache.options(path);
  options.vocabulary = few.vocabulary;
  const Corpus by_few = load_corpus(options);
  CHECK(by_few.vocabulary == few.vocabulary);
  CHECK(text_of(by_few, "all") == text_of(few, "all"));
  CHECK(cache.token_files().size() == 4);
  options.vocabulary = all.vocabulary;
  CHECK(load_corpus(options).sha256 == all.sha256);
  CHECK(cache.token_files().size() == 4);

  write_text(path, lines_of_text(101));  // an altered file is another text
  options = cache.options(path);
  options.level = TokenUnit::word;
  CHECK(load_corpus(options).size() == 606);
  CHECK(cache.token_files().size() == 5);
}

TEST_CASE("word tokens: gzip files and gcide") {
  const Cache cache;
  const std::string text = lines_of_text(1000);
  write_gzip(cache.dir / "gcide.dict.dz", text);
  CorpusOptions options = cache.options("gcide-alphabetical");
  options.level = TokenUnit::word;
  const Corpus corpus = load_corpus(options);
  CHECK(corpus.size() == 6000);
  CHECK(text_of(corpus, "train").substr(0, 30) == text.substr(0, 30));
  CHECK(load_corpus(cache.options("gcide")).level() == TokenUnit::byte);
  CHECK(corpus.words.info().source == "sha256:" + checksum("sha256", as_bytes(text)));
}

TEST_CASE("word tokens: a text that is altered while it is read leaves no token file") {
  const Cache cache;
  const TempDir dir;
  const std::string path = dir / "file.txt";
  const std::string text = lines_of_text(1000), other = lines_of_text(1001);
  std::string more_words = text;
  std::replace(more_words.begin(), more_words.end(), ',', ' ');
  CorpusOptions options = cache.options(path);
  options.level = TokenUnit::word;
  for (const char* when : {"counting", "encoding"})
    for (const std::string& altered : {other, text.substr(0, 500), std::string(), more_words}) {
      CAPTURE(when);
      write_text(path, text);
      // After the last block the file is altered, so that the next pass finds another text.
      options.progress = [&](std::string_view what, int64_t, int64_t) {
        if (what.starts_with("counting")) write_text(path, altered);
      };
      CHECK(contains(error_of([&] { load_corpus(options); }), "file.txt"));
      CHECK(cache.token_files().empty());
    }
  options.progress = {};
  write_text(path, text);
  CHECK(load_corpus(options).size() == 6000);
  // The names of the temporary file and of nothing else are gone.
  for (const auto& entry : fs::directory_iterator(cache.dir.path()))
    CHECK(entry.path().extension() != ".tmp");
}

TEST_CASE("word tokens: a text that is not the one of the checksum is refused") {
  const Cache cache;
  const TempDir dir;
  const fs::path path = dir / "file.txt";
  const std::string text = lines_of_text(100);
  write_text(path, text);
  const WordSource source = file_source("file.txt", path, checksum("sha256", as_bytes("other")), 1000, 1200);
  WordOptions options;
  options.data_dir = cache.dir.path();
  const std::string message = error_of([&] { load_token_file(source, options); });
  CHECK(contains(message, path.string() + ": was altered while it was read"));
  CHECK(contains(message, checksum("sha256", as_bytes(text))));
  CHECK(cache.token_files().empty());
}

TEST_CASE("word tokens: a long file name is shortened between characters") {
  const Cache cache;
  const TempDir dir;
  std::string umlauts = "x";
  for (int i = 0; i < 120; ++i) umlauts += "ä";
  int lines = 100;
  for (const std::string& name : {std::string(230, 'n'), umlauts}) {
    write_text(dir / name, lines_of_text(lines));
    CorpusOptions options = cache.options(dir / name);
    options.level = TokenUnit::word;
    const Corpus corpus = load_corpus(options);
    CHECK(corpus.size() == 6 * lines);
    const std::string made = fs::path(corpus.source).filename().string();
    const std::string stem = made.substr(0, made.size() - std::string("-0123456789abcdef.tokens").size());
    CHECK(stem == name.substr(0, stem.size()));
    CHECK(stem.size() == 225);  // 'x' and 112 characters of two bytes; one more would be 227
    CHECK(load_corpus(options).sha256 == corpus.sha256);
    // The key keeps another text of such a name apart.
    write_text(dir / name, lines_of_text(++lines));
    CHECK(load_corpus(options).size() == 6 * lines);
    ++lines;
  }
  CHECK(cache.token_files().size() == 4);
}

TEST_CASE("word tokens: errors") {
  const Cache cache;
  const TempDir dir;
  const std::string path = dir / "file.txt";
  write_text(path, "one line of no more than seven words");
  CorpusOptions options = cache.options(path);
  options.level = TokenUnit::word;
  const std::string one_line = error_of([&] { load_corpus(options); });
  CHECK(contains(one_line, path + ": 9 tokens split into 9 for training, 0 for dev and 0 for test"));
  CHECK(contains(one_line, "at the borders of lines"));
  options.valid_fraction = options.test_fraction = 0;
  CHECK(load_corpus(options).size() == 9);
  options.words.size = 1;
  CHECK(contains(error_of([&] { load_corpus(options); }), "a size of 1 leaves no word"));
  options.level = TokenUnit::byte;
  CHECK(contains(error_of([&] { load_corpus(options); }), "a vocabulary of bytes has no limits"));
  options = cache.options(path);
  options.level = TokenUnit::byte;
  options.vocabulary = Vocabulary::of_words("<unk>\n<eos>\n");
  CHECK(
      contains(error_of([&] { load_corpus(options); }), "cannot be read as bytes by a vocabulary of words"));
  options = cache.options(dir / "absent");
  options.level = TokenUnit::word;
  CHECK(contains(error_of([&] { load_corpus(options); }), "is neither a corpus"));
  write_text(cache.dir / "file", "in the way");
  options = cache.options(path);
  options.level = TokenUnit::word;
  options.data_dir = cache.dir / "file/below";
  CHECK(contains(error_of([&] { load_corpus(options); }), "set TANDEM_DATA"));
}

TEST_CASE("word tokens: two threads at a time make one token file") {
  const Cache cache;
  const TempDir dir;
  const std::string path = dir / "file.txt";
  write_text(path, lines_of_text(20'000));
  CorpusOptions options = cache.options(path);
  options.level = TokenUnit::word;
  std::vector<std::thread> threads;
  std::array<std::string, 3> results;
  for (std::string& result : results)
    threads.emplace_back([&options, &result] {
      try {
        result = std::to_string(load_corpus(options).size());
      } catch (const std::exception& error) {
        result = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (const std::string& result : results) CHECK(result == "120000");
  CHECK(cache.token_files().size() == 1);
}

}  // namespace
}  // namespace tandem::testing
