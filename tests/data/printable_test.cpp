// Text of unknown origin in messages: control characters, other encodings, great lengths.
#include "data/printable.h"

#include <doctest/doctest.h>

namespace tandem::testing {
namespace {

TEST_CASE("printable: text stays as it is, and control characters are escaped") {
  CHECK(printable("") == "");
  CHECK(printable("a b~ ä € 𝄞") == "a b~ ä € 𝄞");
  CHECK(printable("\x1b[31mred\n\r\t") == "\\x1b[31mred\\x0a\\x0d\\x09");
  CHECK(printable(std::string_view("\0\x7f", 2)) == "\\x00\\x7f");
  CHECK(printable("\xc2\x9b"
                  "31m\xc2\xa0") == "\\xc2\\x9b31m\xc2\xa0");  // U+009B begins an escape sequence, too
}

TEST_CASE("printable: bytes that are not UTF-8 are escaped") {
  CHECK(printable("\x9b"
                  "31m") == "\\x9b31m");
  CHECK(printable("f\xfcr") == "f\\xfcr");
  CHECK(printable("\xe2\x82") == "\\xe2\\x82");
  CHECK(printable("\xc0\x80\xff") == "\\xc0\\x80\\xff");
}

TEST_CASE("printable: a long text is cut between characters") {
  CHECK(printable(std::string(200, 'a')) == std::string(200, 'a'));
  CHECK(printable(std::string(201, 'a')) == std::string(200, 'a') + "... (201 bytes)");
  CHECK(printable("aä", 2) == "a... (3 bytes)");
  CHECK(printable("\n\n\n", 2) == "\\x0a\\x0a... (3 bytes)");
}

}  // namespace
}  // namespace tandem::testing
