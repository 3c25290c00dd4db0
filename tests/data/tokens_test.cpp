// Tokens: views of bytes and views of ids read alike.
#include "tandem/data/tokens.h"

#include <doctest/doctest.h>

#include "tandem/data/batch_stream.h"
#include "tests/support/data_files.h"
#include "tests/support/errors.h"

namespace tandem::testing {
namespace {

TEST_CASE("tokens: bytes through a vocabulary, and ids as they are") {
  const std::string text = "cabbage";
  const Vocabulary vocabulary = Vocabulary::of(as_bytes(text));
  const std::vector<int32_t> ids = vocabulary.encode(text);
  const Tokens of_bytes(as_bytes(text), vocabulary), of_ids(ids, vocabulary.size());
  for (const Tokens& tokens : {of_bytes, of_ids}) {
    CHECK(tokens.size() == 7);
    CHECK(tokens.vocabulary_size() == 5);
    for (int64_t i = 0; i < 7; ++i) CHECK(tokens[i] == ids[static_cast<size_t>(i)]);
    CHECK(tokens.first(3).size() == 3);
    CHECK(tokens.first(3)[2] == ids[2]);
    CHECK(tokens.first(0).size() == 0);
    CHECK(contains(error_of([&] { tokens.first(8); }), "the first 8 of 7"));
  }
  BatchStream a(of_bytes, 2, 3), b(of_ids, 2, 3);
  std::vector<int32_t> a_inputs, a_targets, b_inputs, b_targets;
  a.next(a_inputs, a_targets);
  b.next(b_inputs, b_targets);
  CHECK(a_inputs == b_inputs);
  CHECK(a_targets == b_targets);

  CHECK(Tokens().size() == 0);
  CHECK(contains(error_of([&] { Tokens(as_bytes("cabX"), vocabulary); }), "byte 0x58 at offset 3"));
  CHECK(contains(error_of([&] { Tokens(as_bytes("cab"), Vocabulary::of_words("<unk>\n<eos>\n")); }),
                 "a vocabulary of words cannot be applied to bytes"));
}

TEST_CASE("tokens: the share of words that the vocabulary lacks") {
  const Vocabulary vocabulary = Vocabulary::of_words("<unk>\n<eos>\na\n");
  const std::vector<int32_t> ids = vocabulary.encode("a b a\nc a a\n");
  CHECK(unknown_share(Tokens(ids, 3), vocabulary) == 0.25);
  CHECK(unknown_share(Tokens(ids, 3).first(1), vocabulary) == 0);
  CHECK(unknown_share(Tokens(), vocabulary) == 0);
  const std::vector<uint8_t> bytes = {'a', 'b'};
  CHECK(unknown_share(Tokens(bytes, Vocabulary::of(bytes)), Vocabulary::of(bytes)) == 0);
  CHECK(
      contains(error_of([&] { unknown_share(Tokens(ids, 3), Vocabulary::of(bytes)); }), "a vocabulary of 3"));
}

}  // namespace
}  // namespace tandem::testing
