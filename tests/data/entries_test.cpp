// Entries of a dictionary: where they begin, their order, and the file that keeps them.
#include "tandem/data/entries.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tandem/core/digest.h"
#include "tandem/data/corpus.h"
#include "tests/support/corpora.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

std::string shuffled(const std::string& text) {
  const std::vector<uint8_t> bytes = shuffle_entries(as_bytes(text));
  return {bytes.begin(), bytes.end()};
}

// Returns the concatenation of these entries in the order of their digests.
std::string in_order(std::vector<std::string> entries) {
  std::stable_sort(entries.begin(), entries.end(), [](const std::string& a, const std::string& b) {
    return digest_of(a.data(), a.size()) < digest_of(b.data(), b.size());
  });
  std::string text;
  for (const std::string& entry : entries) text += entry;
  return text;
}

// 26 entries of several lines each, with lines that look like the beginning of one and are none.
std::vector<std::string> dictionary() {
  std::vector<std::string> entries;
  for (char letter = 'A'; letter <= 'Z'; ++letter)
    entries.push_back(
        std::string(1, letter) + "word \\word\\, n.\nsecond line at the margin\n   1. a sense\n\n\n" +
        "[1913 Webster]\n\n   2. " + std::string(static_cast<size_t>(letter - 'A'), 'x') + "\n\n");
  return entries;
}

std::string joined(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += part;
  return text;
}

TEST_CASE("entries: whole ones in the order of their digests") {
  const std::vector<std::string> entries = dictionary();
  const std::string text = joined(entries);
  CHECK(shuffled(text) == in_order(entries));
  CHECK(shuffled(text) != text);
  std::vector<std::string> reversed(entries.rbegin(), entries.rend());
  CHECK(shuffled(joined(reversed)) == shuffled(text));
}

TEST_CASE("entries: an entry that is added moves no other one") {
  std::vector<std::string> entries = dictionary();
  const std::string added = "New \\New\\, a.\n   not old\n\n";
  const std::string before = shuffled(joined(entries));
  entries.insert(entries.begin() + 5, added);
  std::string after = shuffled(joined(entries));
  const size_t at = after.find(added);
  REQUIRE(at != std::string::npos);
  after.erase(at, added.size());
  CHECK(after == before);
}

TEST_CASE("entries: texts without any, or with a last line that does not end") {
  CHECK(shuffled("").empty());
  CHECK(shuffled("\n\n\n") == "\n\n\n");
  CHECK(shuffled("one line") == "one line");
  CHECK(shuffled("   indented\n\n   indented\n") == "   indented\n\n   indented\n");
  CHECK(shuffled("a\n\nb") == in_order({"a\n\n", "b"}));
}

TEST_CASE("entries: the file is made once, and again if it or its source was altered") {
  const TempDir dir;
  const fs::path source = dir / "words.dict.dz", data = dir / "data";
  const std::vector<std::string> entries = dictionary();
  write_gzip(source, joined(entries));
  int made = 0;
  const CorpusProgress count = [&made](std::string_view, int64_t, int64_t) { ++made; };
  const fs::path file = shuffled_file(source, "words", data, count);
  CHECK(file == data / "words.txt");
  CHECK(read_text(file) == in_order(entries));
  CHECK(made == 1);
  shuffled_file(source, "words", data, count);
  CHECK(made == 1);

  std::string altered = read_text(file);
  altered[100] ^= 1;
  write_text(file, altered);
  CHECK(read_text(shuffled_file(source, "words", data, count)) == in_order(entries));
  CHECK(made == 2);

  write_gzip(source, joined(entries) + "Zz \\Zz\\\n\n");
  shuffled_file(source, "words", data, count);
  CHECK(made == 3);
  CHECK(fs::file_size(file) == joined(entries).size() + 9);

  write_text(source, "no gzip");
  CHECK(contains(error_of([&] { shuffled_file(source, "words", data, count); }), "not a gzip file"));
}

TEST_CASE("entries: a run of version 0.1 on gcide finds the dictionary in its old order") {
  const TempDir dir;
  const std::string text = joined(dictionary());
  write_gzip(dir / "gcide.dict.dz", text);
  CorpusOptions options;
  options.name_or_path = "gcide";
  options.data_dir = dir.path();
  options.trained.emplace();
  options.trained->corpus_sha256 = checksum("sha256", as_bytes(text));
  for (const TokenUnit level : {TokenUnit::byte, TokenUnit::word}) {
    options.level = level;
    options.trained->text_sha256 = level == TokenUnit::word ? options.trained->corpus_sha256 : "";
    const Corpus corpus = load_corpus(options);
    CHECK(corpus.trained);
    CHECK(corpus.name == "gcide-alphabetical");
    CHECK(corpus.text_sha256 == checksum("sha256", as_bytes(text)));
  }
  options.level = TokenUnit::byte;
  options.trained->corpus_sha256 = options.trained->text_sha256 =
      checksum("sha256", as_bytes(shuffled(text)));
  const Corpus now = load_corpus(options);
  CHECK(now.trained);
  CHECK(now.name == "gcide");
  options.trained->corpus_sha256 = options.trained->text_sha256 = std::string(64, '0');
  CHECK_FALSE(load_corpus(options).trained);
}

}  // namespace
}  // namespace tandem::testing
