// UTF-8: well-formed and malformed bytes, escapes that can be undone, and text for terminals.
#include "tandem/core/utf8.h"

#include <doctest/doctest.h>

#include <random>
#include <string>

namespace tandem::testing {

using namespace std::string_literals;

TEST_CASE("utf8: well-formed text is recognised, and every malformed form is not") {
  for (const std::string& good :
       {""s, "plain"s, "nul\0"s, "\u00e4\u07ff\u0800\ue000\uffff"s, "\U00010000\U0010ffff"s, "\x7f\xc2\x80"s})
    CHECK(is_utf8(good));
  for (const std::string& bad :
       {"\x80"s, "\xbf"s, "\xff"s, "\xfe"s, "a\xc3"s, "\xc3("s, "\xe2\x82"s, "\xf0\x9f\x98"s, "\xc0\x80"s,
        "\xc1\xbf"s, "\xe0\x9f\xbf"s, "\xed\xa0\x80"s, "\xed\xbf\xbf"s, "\xf0\x8f\xbf\xbf"s,
        "\xf4\x90\x80\x80"s, "\xf5\x80\x80\x80"s, "\xe2\x28\xa1"s, "\xf0\x90\x28\xbc"s})
    CHECK_FALSE(is_utf8(bad));
}

TEST_CASE("utf8: U+FFFD stands for each longest beginning of a character, and for each other byte") {
  const std::string other = "\ufffd";
  CHECK(replaced_utf8("") == "");
  CHECK(replaced_utf8("a\u00e4\u20ac\U0001f600\0"s) == "a\u00e4\u20ac\U0001f600\0"s);
  CHECK(replaced_utf8("\xff\x80") == other + other);
  CHECK(replaced_utf8("\xe2\x82") == other);
  CHECK(replaced_utf8("\xe2\x82z\xc3") == other + "z" + other);
  // The examples of the Unicode standard, tables 3-8 to 3-11.
  CHECK(replaced_utf8("\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41"s) ==
        other + other + other + other + other + other + other + other + "A");
  CHECK(replaced_utf8("\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41"s) ==
        other + other + other + other + other + other + other + other + "A");
  CHECK(replaced_utf8("\xf4\x91\x92\x93\xff\x41\x80\xbf\x42"s) ==
        other + other + other + other + other + "A" + other + other + "B");
  CHECK(replaced_utf8("\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41"s) == other + other + other + other + "A");
  CHECK(character_starts("a\u00e4\xff\xe2\x82z") == std::vector<size_t>{0, 1, 3, 4, 6});
  CHECK(character_starts("").empty());
}

TEST_CASE("utf8: an unfinished character at the end is told from bytes that are none") {
  CHECK(unfinished_utf8("") == 0);
  CHECK(unfinished_utf8("ab\u00e4") == 0);
  CHECK(unfinished_utf8("a\xc3") == 1);
  CHECK(unfinished_utf8("\xe2\x82") == 2);
  CHECK(unfinished_utf8("x\xf0\x9f\x98") == 3);
  CHECK(unfinished_utf8("\xf0\x9f\x98\x80") == 0);
  CHECK(unfinished_utf8("\xe0\x80") == 0);  // overlong: no third byte makes a character of it
  CHECK(unfinished_utf8("\x82\x82") == 0);
  CHECK(unfinished_utf8("\xff") == 0);
}

TEST_CASE("utf8: the escapes of bytes that are not UTF-8 are UTF-8 and can be undone") {
  CHECK(escaped_utf8("caf\xe9") == "caf\\xe9");
  CHECK(escaped_utf8("caf\u00e9") == "caf\u00e9");
  CHECK(escaped_utf8("a\\b") == "a\\b");
  CHECK(escaped_utf8("a\\xe9") == "a\\x5cxe9");
  CHECK(unescaped_utf8("a\\x5cxe9") == "a\\xe9");
  CHECK(unescaped_utf8("\\xzz \\x4 \\x") == "\\xzz \\x4 \\x");
  CHECK(escaped_utf8("\xe2\x82") == "\\xe2\\x82");
  std::mt19937 random(1);
  const std::string alphabet = "\\\\\\xx0aF5c\xc3\xa4\xe9\xff\xf0\x9f\x98\x80"s;
  for (int round = 0; round < 5000; ++round) {
    std::string bytes;
    for (unsigned i = random() % 12; i > 0; --i) bytes += alphabet[random() % alphabet.size()];
    const std::string text = escaped_utf8(bytes);
    REQUIRE(is_utf8(text));
    REQUIRE(unescaped_utf8(text) == bytes);
  }
}

TEST_CASE("utf8: text for a terminal has no control characters but newline and tab") {
  CHECK(printable("two\nlines\tand \u00e4\u4e2d") == "two\nlines\tand \u00e4\u4e2d");
  CHECK(printable("\x1b[2J\x07\r\b\0"s) == "\\x1b[2J\\x07\\x0d\\x08\\x00");
  CHECK(printable("\x7f\u0080\u009b\u00a0") == "\\x7f\\xc2\\x80\\xc2\\x9b\u00a0");
  CHECK(printable("bad\xff") == "bad\\xff");
}

TEST_CASE("utf8: the start of a text for a message is one line and no longer than asked for") {
  CHECK(printable_start("short\n") == "short\\x0a");
  CHECK(printable_start("abcdef", 6) == "abcdef");
  CHECK(printable_start("abcdefg", 6) == "abcdef...");
  CHECK(printable_start("abcd\u4e2dx", 6) == "abcd...");
  CHECK(printable_start("abcd\u4e2d", 7) == "abcd\u4e2d");
  CHECK(printable_start("abcd\u4e2dx", 7) == "abcd\u4e2d...");
  CHECK(printable_start("abc\xff\xff\xff\xff", 5) == "abc\\xff\\xff...");
  CHECK(printable_start(std::string(1 << 20, '[')).size() < 300);
}

}  // namespace tandem::testing
