// The text of serve's completions: characters of several tokens, stop texts, offsets, bytes that are no text; words.
#include <doctest/doctest.h>

#include <numeric>
#include <random>

#include "tandem/core/utf8.h"
#include "tandem/tools/run/serve/completion_text.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

using Texts = std::vector<std::string>;

const Vocabulary& all_bytes() {
  static const Vocabulary vocabulary = [] {
    std::vector<uint8_t> bytes(256);
    std::iota(bytes.begin(), bytes.end(), uint8_t{0});
    return Vocabulary::of(bytes);
  }();
  return vocabulary;
}

// Adds bytes one by one, and returns what may be sent after each of them and at the end.
Texts parts(const std::string& bytes, const Texts& stop = {}) {
  CompletionText text(all_bytes(), stop, -1, 0, true);
  Texts all;
  for (const char byte : bytes) {
    const bool more = text.add({.id = all_bytes().id(static_cast<uint8_t>(byte))});
    all.push_back(text.take(!more).text);
    if (!more) return all;
  }
  all.push_back(text.take(true).text);
  return all;
}

std::string whole(const std::string& bytes, const Texts& stop = {}) {
  const Texts all = parts(bytes, stop);
  return std::accumulate(all.begin(), all.end(), std::string());
}

TEST_CASE("serve, text: bytes of a character are held back until it is complete") {
  CHECK(parts("ab") == Texts{"a", "b", ""});
  CHECK(parts("x\u00e4y") == Texts{"x", "", "\u00e4", "y", ""});
  CHECK(parts("\U0001f600") == Texts{"", "", "", "\U0001f600", ""});
}

TEST_CASE("serve, text: U+FFFD stands for bytes that are no text, once for each beginning of a character") {
  CHECK(parts("\xff") == Texts{"\ufffd", ""});
  CHECK(parts("\xe2\x82") == Texts{"", "", "\ufffd"});
  CHECK(parts("\xe2\x82x") == Texts{"", "", "\ufffdx", ""});
  CHECK(parts("\xc3\xc3\xa4") == Texts{"", "\ufffd", "\u00e4", ""});
  CHECK(whole("\xf0\x9f\x98\xe2\x82\xac") == "\ufffd\u20ac");
}

TEST_CASE("serve, text: a text ends before the first stop text, no part of which was sent") {
  CHECK(parts("abENDx", {"END"}) == Texts{"a", "b", "", "", ""});
  CHECK(parts("abENx", {"END"}) == Texts{"a", "b", "", "", "ENx", ""});
  CHECK(parts("abEN", {"END"}) == Texts{"a", "b", "", "", "EN"});
  CHECK(parts("aaab", {"aab"}) == Texts{"", "", "a", ""});
  CHECK(parts("ab", {"b", "ab"}) == Texts{"", ""});  // the one that begins first
  CHECK(parts("a\nb", {"\n"}) == Texts{"a", ""});
  CHECK(parts("x\u00e4", {"\u00e4"}) == Texts{"x", "", ""});
  CHECK(whole("x\u00e5", {"\u00e4"}) == "x\u00e5");
  CHECK(whole("none of it", {"nothing", "it is"}) == "none of it");
}

TEST_CASE("serve, text: streamed parts are the whole text, for random bytes and stop texts") {
  std::mt19937 random(1);
  const std::string alphabet = "ab\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xff";
  const auto some = [&](size_t most) {
    std::string bytes;
    for (size_t i = random() % most + 1; i > 0; --i) bytes += alphabet[random() % alphabet.size()];
    return bytes;
  };
  for (int round = 0; round < 3000; ++round) {
    const std::string bytes = some(12), stop = round % 2 ? "a\u00e4" : "ba";
    const std::string expected = replaced_utf8(bytes.substr(0, bytes.find(stop)));
    const std::string text = whole(bytes, {stop});
    CAPTURE(escaped_utf8(bytes));
    REQUIRE(is_utf8(text));
    REQUIRE(text == expected);
  }
}

TEST_CASE("serve, text: tokens have their names, offsets in characters and scores, and end with the text") {
  CompletionText text(all_bytes(), {"!"}, -1, 0, true);
  const auto id = [](const char* byte) { return all_bytes().id(static_cast<uint8_t>(*byte)); };
  for (const char* byte : {"a", "\xc3", "\xa4"}) text.add_prompt({.id = id(byte)});
  CompletionText::Part part = text.take(false);
  CHECK(part.text == "a\u00e4");
  REQUIRE(part.tokens.size() == 3);
  CHECK(part.tokens[1].text == "bytes:\\xc3");
  CHECK(part.tokens[2].text == "bytes:\\xa4");
  CHECK(std::vector{part.tokens[0].offset, part.tokens[1].offset, part.tokens[2].offset} ==
        std::vector<int64_t>{0, 1, 1});
  CHECK_FALSE(part.tokens[0].logprob);

  CHECK(text.add({.id = id("x"), .logprob = -0.5, .top = {{id("x"), -0.5}, {id("\xff"), -2}}}));
  CHECK(text.add({.id = id("\xe2"), .logprob = -1}));
  part = text.take(false);
  CHECK(part.text == "x");
  REQUIRE(part.tokens.size() == 1);  // the other one comes with its character
  CHECK(part.tokens[0].offset == 2);
  CHECK(part.tokens[0].logprob == -0.5);
  REQUIRE(part.tokens[0].top.size() == 2);
  CHECK(part.tokens[0].top[1] == std::pair<std::string, double>{"bytes:\\xff", -2});
  CHECK_FALSE(text.add({.id = id("!"), .logprob = -1}));
  part = text.take(true);
  CHECK(part.text == "\ufffd");
  REQUIRE(part.tokens.size() == 1);  // the stop text's token is cut off
  CHECK(part.tokens[0].offset == 3);
  CHECK(text.stopped());
}

TEST_CASE("serve, text: stop texts are not looked for in the prompt, nor across its end") {
  CompletionText text(all_bytes(), {"ab"}, -1, 0, true);
  for (const char c : std::string("aba")) text.add_prompt({.id = all_bytes().id(static_cast<uint8_t>(c))});
  CHECK(text.add({.id = all_bytes().id('b')}));
  CHECK(text.add({.id = all_bytes().id('a')}));
  CHECK_FALSE(text.add({.id = all_bytes().id('b')}));
  CHECK(text.take(true).text == "abab");
}

TEST_CASE("serve, text: words are joined as the vocabulary joins them, and a stop text may end within one") {
  const Vocabulary words = Vocabulary::of_words("<eos>\n<unk>\nthe\nword\n");
  const std::vector<int32_t> ids = words.encode("the word\nthe");
  CompletionText text(words, {"rd\nt"}, ids[0], 3, true);
  CHECK(text.add({.id = ids[1]}));
  CompletionText::Part part = text.take(false);
  CHECK(part.text == " wo");
  CHECK(part.tokens.empty());
  CHECK(text.add({.id = ids[2]}));
  CHECK(text.take(false).text.empty());
  CHECK_FALSE(text.add({.id = ids[3]}));
  part = text.take(true);
  CHECK(part.text.empty());
  REQUIRE(part.tokens.size() == 1);  // the word of which a part was sent
  CHECK(part.tokens[0].text == " word");
  CHECK(part.tokens[0].offset == 3);
}

}  // namespace
}  // namespace tandem::testing
