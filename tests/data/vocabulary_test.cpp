// Byte vocabularies: order of ids, hex, encoding, and every error.
#include "tandem/data/vocabulary.h"

#include <doctest/doctest.h>

#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

TEST_CASE("vocabulary: ids are ranks among the distinct bytes") {
  const Vocabulary vocabulary = Vocabulary::of(as_bytes("banana\n\xff"));
  CHECK(vocabulary.size() == 5);
  CHECK(vocabulary.to_hex() == "0a61626eff");
  CHECK(vocabulary.id('\n') == 0);
  CHECK(vocabulary.id('a') == 1);
  CHECK(vocabulary.id(0xff) == 4);
  CHECK(vocabulary.id('z') == -1);
  CHECK_FALSE(vocabulary.contains('z'));
  CHECK(vocabulary.byte(3) == 'n');
  CHECK(vocabulary.encode("nab") == std::vector<int32_t>{3, 1, 2});
  CHECK(vocabulary.decode(std::vector<int32_t>{2, 1, 3, 4}) == "ban\xff");
}

TEST_CASE("vocabulary: empty and full") {
  CHECK(Vocabulary().size() == 0);
  CHECK(Vocabulary().to_hex().empty());
  CHECK(Vocabulary().encode("").empty());
  CHECK(Vocabulary::of({}) == Vocabulary());
  std::string all(256, '\0');
  for (int value = 0; value < 256; ++value) all[value] = static_cast<char>(255 - value);
  const Vocabulary vocabulary = Vocabulary::of(as_bytes(all));
  CHECK(vocabulary.size() == 256);
  for (int value = 0; value < 256; ++value) {
    CHECK(vocabulary.id(static_cast<uint8_t>(value)) == value);
    CHECK(vocabulary.byte(value) == value);
  }
  CHECK(Vocabulary::from_hex(vocabulary.to_hex()) == vocabulary);
  CHECK(vocabulary.decode(vocabulary.encode(all)) == all);
}

TEST_CASE("vocabulary: hex keeps any order of ids") {
  const Vocabulary vocabulary = Vocabulary::from_hex("7A610Aff");
  CHECK(vocabulary.id('z') == 0);
  CHECK(vocabulary.id('a') == 1);
  CHECK(vocabulary.id('\n') == 2);
  CHECK(vocabulary.to_hex() == "7a610aff");
  CHECK_FALSE(vocabulary == Vocabulary::from_hex("0a617aff"));
}

TEST_CASE("vocabulary: errors") {
  CHECK(contains(error_of([] { Vocabulary::from_hex(""); }), "0 digits"));
  CHECK(contains(error_of([] { Vocabulary::from_hex("0a6"); }), "3 digits"));
  CHECK(contains(error_of([] { Vocabulary::from_hex("0a6g"); }), "offset 2"));
  CHECK(contains(error_of([] { Vocabulary::from_hex("0x61"); }), "offset 0"));
  CHECK(contains(error_of([] { Vocabulary::from_hex("0a610A"); }), "0x0a occurs twice"));

  const Vocabulary vocabulary = Vocabulary::of(as_bytes("abc"));
  const std::string absent = error_of([&] { vocabulary.encode("ab\xe9"); });
  CHECK(contains(absent, "byte 0xe9 at offset 2"));
  CHECK(contains(absent, "3 byte values"));
  CHECK(contains(error_of([&] { vocabulary.byte(3); }), "id 3 is outside of 0 .. 2"));
  CHECK(contains(error_of([&] { vocabulary.decode(std::vector<int32_t>{0, -1}); }), "id -1"));
}

}  // namespace
}  // namespace tandem::testing
