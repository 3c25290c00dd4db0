// Words: where they begin and end, which are chosen and in which order, ids and back, every error.
#include "tandem/data/words/vocabulary.h"

#include <doctest/doctest.h>

#include "tandem/data/vocabulary.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

// Returns the words of a text in brackets, and line ends as |.
std::string cut(const std::string& text) {
  std::string all;
  for_each_word(
      text, [&all](std::string_view word) { all += "[" + std::string(word) + "]"; }, [&all] { all += "|"; });
  return all;
}

TEST_CASE("words: what stands between blanks") {
  CHECK(cut("") == "");
  CHECK(cut("one") == "[one]");
  CHECK(cut(" one  two\n") == "[one][two]|");
  CHECK(cut("\n\n a\tb\r\nc") == "||[a][b]|[c]");
  CHECK(cut("<unk> @-@ U.S. ,") == "[<unk>][@-@][U.S.][,]");
  CHECK(cut("caf\xc3\xa9 \xe2\x80\x93 \xff\xc2") == "[caf\xc3\xa9][\xe2\x80\x93][\xff\xc2]");
}

TEST_CASE("words: the blanks of Unicode, as for Python's str.split()") {
  // Every character that Python 3.11 splits at, in UTF-8.
  for (const char* blank : {"\t",           "\v",           "\f",
                            "\r",           "\x1c",         "\x1d",
                            "\x1e",         "\x1f",         " ",
                            "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80",
                            "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x85",
                            "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9",
                            "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"}) {
    const std::string text = std::string("a") + blank + blank + "b";
    CAPTURE(text);
    CHECK(cut(text) == "[a][b]");
  }
  for (const char* letter : {"\x1b", "\xc2\x86", "\xc2\xa1", "\xe1\x9a\x81", "\xe2\x80\x8b", "\xe2\x80\xa7",
                             "\xe2\x80\xaa", "\xe2\x81\xa0", "\xe3\x80\x81", "\xe2\x80"}) {
    const std::string text = std::string("a") + letter + "b";
    CHECK(cut(text) == "[" + text + "]");
  }
}

TEST_CASE("words: chosen by frequency, then by bytes") {
  const WordCounts counts = {{"the", 9},  {"b", 3},     {"a", 3},    {"B", 3},
                             {"rare", 1}, {"rarer", 1}, {"<eos>", 4}};
  CHECK(choose_words(counts, {}) == "the\n<eos>\nB\na\nb\nrare\nrarer\n<unk>\n");
  CHECK(choose_words(counts, {.min_count = 2}) == "the\n<eos>\nB\na\nb\n<unk>\n");
  CHECK(choose_words(counts, {.min_count = 4}) ==
        "<unk>\nthe\n<eos>\n");  // <unk> counts for 3 + 3 + 3 + 1 + 1
  CHECK(choose_words(counts, {.size = 5}) ==
        "the\n<unk>\n<eos>\nB\na\n");  // 3 + 1 + 1 of <unk>: before <eos>
  CHECK(choose_words(counts, {.size = 3}) == "<unk>\nthe\n<eos>\n");
  CHECK(choose_words(counts, {.size = 100}) == choose_words(counts, {}));
  CHECK(choose_words(counts, {.size = 4, .min_count = 4}) == "<unk>\nthe\n<eos>\n");
  CHECK(choose_words({{"<unk>", 5}, {"x", 6}}, {}) == "x\n<unk>\n<eos>\n");
  CHECK(choose_words({{"x", 6}, {"<S>", 6}}, {}, "<S>") == "<S>\nx\n<unk>\n");
  CHECK(choose_words({}, {}) == "<eos>\n<unk>\n");
  CHECK(contains(error_of([&] { choose_words(counts, {.size = 2}); }), "a size of 2 leaves no word"));
  CHECK(contains(error_of([&] { choose_words(counts, {.min_count = 0}); }), "at least 0 times"));
}

TEST_CASE("word vocabulary: ids and back") {
  const WordVocabulary words("the\n<unk>\ncat\n<eos>\n");
  CHECK(words.size() == 4);
  CHECK(words.id("cat") == 2);
  CHECK(words.id("dog") == 1);
  CHECK(words.id("") == 1);
  CHECK(words.word(0) == "the");
  CHECK(words.unknown() == 1);
  CHECK(words.line_end() == 3);
  const WordVocabulary benchmark("</S>\n<S>\n<UNK>\n");
  CHECK(benchmark.unknown() == 2);
  CHECK(benchmark.line_end() == 1);
}

TEST_CASE("word vocabulary: errors") {
  const auto error = [](const std::string& text) { return error_of([&] { WordVocabulary words(text); }); };
  CHECK(contains(error(""), "none of its 0 words is <unk> or <UNK>"));
  CHECK(contains(error("a\n<unk>\n"), "none of its 2 words is <eos> or <S>"));
  CHECK(contains(error("a\n<unk>\n<eos>\na\n"), "'a' occurs twice, as id 0 and again after 3 words"));
  CHECK(contains(error("a\n\n<unk>\n"), "'', word 1, is empty or has a blank"));
  CHECK(contains(error("a\nb c\n"), "'b c', word 1"));
  CHECK(contains(error("a\nb "), "no newline after the last word, 'b '"));
  const WordVocabulary words("<unk>\n<eos>\n");
  CHECK(contains(error_of([&] { words.word(2); }), "id 2 is outside of 0 .. 1"));
  CHECK(contains(error_of([&] { words.word(-1); }), "id -1"));
}

TEST_CASE("vocabulary of words: encodes lines, and decodes them again") {
  const Vocabulary vocabulary = Vocabulary::of_words("a\nb\n<unk>\n<eos>\n");
  CHECK(vocabulary.level() == TokenUnit::word);
  CHECK(vocabulary.size() == 4);
  CHECK(vocabulary.line_end() == 3);
  CHECK(vocabulary.encode("a  b\nb x\n\n a") == std::vector<int32_t>{0, 1, 3, 1, 2, 3, 3, 0});
  CHECK(vocabulary.decode(vocabulary.encode("a  b\nb x\n\n a")) == "a b\nb <unk>\n\na");
  CHECK(vocabulary.encode("").empty());
  CHECK(vocabulary.piece(0, -1) == "a");
  CHECK(vocabulary.piece(0, 1) == " a");
  CHECK(vocabulary.piece(0, 3) == "a");
  CHECK(vocabulary.piece(3, 0) == "\n");
  CHECK(contains(error_of([&] { vocabulary.decode(std::vector<int32_t>{4}); }), "id 4"));
  CHECK(contains(error_of([&] { vocabulary.byte(0); }), "of words, not of bytes"));

  CHECK(vocabulary == Vocabulary::of_words("a\nb\n<unk>\n<eos>\n"));
  CHECK_FALSE(vocabulary == Vocabulary::of_words("b\na\n<unk>\n<eos>\n"));
  CHECK_FALSE(vocabulary == Vocabulary::from_hex("6162"));
  CHECK_FALSE(Vocabulary() == vocabulary);
  CHECK(contains(error_of([] { Vocabulary::from_hex("6162").words(); }), "of 2 byte values, not of words"));
  CHECK(token_unit_named(name_of(TokenUnit::word)) == TokenUnit::word);
  CHECK(contains(error_of([] { token_unit_named("letter"); }), "'letter'; there are byte, subword and word"));
}

}  // namespace
}  // namespace tandem::testing
