// Subwords: learnt from units, encoded and decoded byte for byte, and stored as a model of SentencePiece.
#include <doctest/doctest.h>
#include <fmt/format.h>

#include <memory>

#include "tandem/core/random.h"
#include "tandem/data/subwords/learn.h"
#include "tandem/data/subwords/pieces.h"
#include "tandem/data/subwords/units.h"
#include "tandem/data/tokens.h"
#include "tests/support/errors.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

using namespace std::string_literals;

// Text of a few words, some with characters beyond ASCII.
std::string sample(int lines, uint64_t seed = 1) {
  const char* words[] = {"the",  "tape",  "tensor", "größe",  "gradient",
                         "scan", "naïve", "reads",  "日本語", "weights"};
  Random random(seed);
  std::string text;
  for (int i = 0; i < lines; ++i) {
    for (int j = 0; j < 8; ++j) text += (j == 0 ? "" : " "s) + words[random.below(10)];
    text += "    .\n";
  }
  return text;
}

const Vocabulary& small() {
  static const Vocabulary vocabulary =
      Vocabulary::of_subwords(learn_subwords(count_units(sample(200)), 320, "sample"));
  return vocabulary;
}

std::vector<std::string> parts_of(std::string_view text) {
  std::vector<std::string> parts;
  for_each_unit(
      text, [&parts](std::string_view unit) { parts.emplace_back(unit); },
      [&parts](uint8_t byte) { parts.push_back(fmt::format("<{:02x}>", byte)); });
  return parts;
}

TEST_CASE("subwords: a text is cut into units and single bytes") {
  using Parts = std::vector<std::string>;
  CHECK(parts_of("").empty());
  CHECK(parts_of("the  scan \n x") == Parts{"the", "  scan", " ", "<0a>", " x"});
  CHECK(parts_of("a\tb\0c\x7f"s) == Parts{"a", "<09>", "b", "<00>", "c", "<7f>"});
  CHECK(parts_of("x\xe2\x96\x81y") == Parts{"x", "<e2>", "<96>", "<81>", "y"});  // U+2581
  CHECK(parts_of("x\xe2\x96\x85y") == Parts{"x", "<e2>", "<96>", "<85>", "y"});  // U+2585
  CHECK(parts_of("größe\xc3") == Parts{"größe", "<c3>"});                        // a character cut short
  CHECK(parts_of("\xed\xa0\x80\xc0\x80") ==
        Parts{"<ed>", "<a0>", "<80>", "<c0>", "<80>"});  // a surrogate, overlong
  const std::string long_word = std::string(kLongestUnit - 1, 'x') + "ä" + "y";
  CHECK(parts_of(long_word) == Parts{std::string(kLongestUnit - 1, 'x'), "äy"});
  const WordCounts counts = count_units("the scan the scan\nthe");
  CHECK(counts.size() == 3);  // "the", " scan", " the"
}

TEST_CASE("subwords: what is encoded is decoded byte for byte") {
  const Vocabulary& vocabulary = small();
  std::string all_bytes;
  for (int byte = 0; byte < 256; ++byte) all_bytes += static_cast<char>(byte);
  std::vector<std::string> texts = {
      "",
      " ",
      "\n",
      "\r\n\t\0"s,
      "the tape reads the weights",
      "  leading,   inner and trailing blanks   ",
      "\n\n the\n\tscan",
      "\xe2\x96\x81 and the\xe2\x96\x81scan",
      "\xe2\x96\x85\xe2\x81\x87 <unk> <s> </s> <0x41><0xE2>",
      "größe naïve 日本語 한국어 \xf0\x9f\x98\x80",
      "e\xcc\x81 \xef\xac\x81 \xef\xbb\xbf\xef\xbf\xbd \xc2\xa0\xe3\x80\x80",  // NFKC would alter these
      all_bytes,
      all_bytes + all_bytes,
      std::string(100'000, 'x'),
      std::string(5'000, ' ')};
  Random random(7);
  const std::string text = sample(20, 3);
  for (int i = 0; i < 300; ++i) {
    std::string noise;
    for (int j = 0; j < 60; ++j) {
      if (random.below(2) == 0) {
        noise += static_cast<char>(random.below(256));
      } else {
        const size_t at = random.below(text.size() - 8);
        noise += text.substr(at, 1 + random.below(8));
      }
    }
    texts.push_back(noise);
  }
  for (const std::string& one : texts) {
    CAPTURE(one);
    const std::vector<int32_t> ids = vocabulary.encode(one);
    CHECK(vocabulary.decode(ids) == one);
    CHECK(text_bytes(Tokens(ids, vocabulary.size()), vocabulary, 0, std::ssize(ids)) == std::ssize(one));
  }
  // The parts of a text that is cut after newlines are encoded as in the whole.
  const size_t cut = text.find('\n', 100) + 1;
  std::vector<int32_t> ids = vocabulary.encode(text.substr(0, cut));
  const std::vector<int32_t> rest = vocabulary.encode(text.substr(cut));
  ids.insert(ids.end(), rest.begin(), rest.end());
  CHECK(ids == vocabulary.encode(text));
}

TEST_CASE("subwords: every id stands for bytes, and frequent words are few of them") {
  const Vocabulary& vocabulary = small();
  CHECK(vocabulary.level() == TokenUnit::subword);
  CHECK(vocabulary.size() == 320);
  CHECK(vocabulary.line_end() == 10);
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    CHECK(vocabulary.piece(id, -1).size() >= 1);
    if (id < 256) CHECK(vocabulary.piece(id, -1) == std::string(1, static_cast<char>(id)));
  }
  CHECK(vocabulary.encode("the tape").size() <= 4);
  CHECK(vocabulary.encode("\n") == std::vector<int32_t>{10});
  CHECK(vocabulary.encode("\xf0\x9f\x98\x80") == std::vector<int32_t>{0xf0, 0x9f, 0x98, 0x80});
  CHECK(contains(error_of([&] { vocabulary.piece(320, -1); }), "id 320 is outside of 0 .. 319"));
  CHECK(contains(error_of([&] { vocabulary.words(); }), "of 320 subwords, not of words"));
  CHECK(contains(error_of([&] { Vocabulary::from_hex("61").subwords(); }),
                 "of 1 byte values, not of subwords"));
  CHECK(contains(error_of([&] { vocabulary.byte(0); }), "of subwords, not of bytes"));
}

TEST_CASE("subwords: the same text gives the same model, whatever the heap and the number of threads") {
  // Rare words and repeated letters, so that many pairs are equally frequent up to the last merge.
  Random random(5);
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    for (uint64_t j = 1 + random.below(9); j > 0; --j)
      text += std::string(1 + random.below(3), static_cast<char>('a' + random.below(4)));
    text += i % 10 == 9 ? '\n' : ' ';
  }
  const WordCounts units = count_units(text);
  const std::string model = learn_subwords(units, 1500, "text");
  CHECK(std::ssize(pieces_of_model(model)) == 1500 - 256);
  for (int i = 0; i < 4; ++i) {
    // Leaves holes of many sizes in the heap, which symbols of the next run then fill in another order.
    std::vector<std::unique_ptr<char[]>> blocks;
    for (int j = 0; j < 20'000; ++j) blocks.push_back(std::make_unique<char[]>(16 + random.below(200)));
    for (size_t j = 0; j < blocks.size(); ++j)
      if (random.below(2) == 0) blocks[j].reset();
    CHECK(learn_subwords(units, 1500, "text") == model);
  }
  const Threads several(3);
  CHECK(learn_subwords(units, 1500, "text") == model);
}

TEST_CASE("subwords: a model is what its pieces say, and nothing else is one") {
  const std::string model = small().subwords().model();
  CHECK(small().stored() == model);
  CHECK(Vocabulary::from_stored(TokenUnit::subword, model) == small());
  CHECK_FALSE(Vocabulary::from_hex("6162") == small());
  std::vector<std::string> pieces = pieces_of_model(model);
  CHECK(model_of_pieces(pieces) == model);
  CHECK(text_of_piece("\xe2\x96\x81the") == " the");
  std::swap(pieces[0], pieces[1]);
  CHECK_FALSE(Vocabulary::of_subwords(model_of_pieces(pieces)) == small());

  for (const std::string& wrong :
       {""s, "x"s, model + "x", model + model, model.substr(1), std::string(300, '\x0a'),
        std::string(1000, '\0'), "\x0a\xff\xff\xff\xff\x0f"s})
    CHECK(contains(error_of([&] { Vocabulary::of_subwords(wrong); }), "that are no model of SentencePiece"));
  // Any byte of it altered, and any truncation, is an Error and nothing worse.
  for (size_t at = 0; at < model.size(); at += 7) {
    std::string altered = model;
    altered[at] = static_cast<char>(altered[at] ^ (1 << at % 8));
    CHECK(contains(error_of([&] {
                     if (Vocabulary::of_subwords(altered) == small()) return;
                     throw Error("subwords: another vocabulary");  // a letter of a piece
                   }),
                   "subwords: "));
    CHECK(contains(error_of([&] { Vocabulary::of_subwords(model.substr(0, at)); }), "subwords: "));
  }
  for (const std::string& piece :
       {""s, std::string(65, 'x'), "a b"s, "a\nb"s, "a\0b"s, "\xe2\x96\x85"s, "\xc3"s, "<unk>"s, "<0x0A>"s})
    CHECK(contains(error_of([&] { model_of_pieces({"fine", piece}); }), "subwords: piece 1"));
  CHECK_NOTHROW(Vocabulary::of_subwords(model_of_pieces({"<0x0a>", "<unk"})));
  CHECK(contains(error_of([&] {
                   model_of_pieces({"a", "b", "a"});
                 }),
                 "the piece 'a' occurs twice, as number 0 and as 2"));
}

TEST_CASE("subwords: sizes that a text does not allow") {
  const WordCounts units = count_units(sample(50));
  for (const int64_t size : {int64_t{0}, int64_t{256}, int64_t{-5}, int64_t{1} << 40})
    CHECK(contains(
        error_of([&] { learn_subwords(units, size, "t.txt"); }),
        fmt::format("t.txt: a vocabulary of {} subwords cannot be learnt; 256 of them are single bytes",
                    size)));
  CHECK(contains(error_of([&] { learn_subwords(units, 260, "t.txt"); }),
                 "t.txt: a vocabulary of 260 subwords cannot be learnt: SentencePiece says"));
  const std::string most = error_of([&] { learn_subwords(units, 8000, "t.txt"); });
  CHECK(contains(most, "t.txt: the text that is trained on gives no more than "));
  CHECK(contains(most, "and 8000 are asked for"));
  const size_t at = most.find("--vocab-size=");
  REQUIRE(at != std::string::npos);
  const int64_t possible = std::stoll(most.substr(at + 13));
  CHECK(Vocabulary::of_subwords(learn_subwords(units, possible, "t.txt")).size() == possible);
  CHECK(contains(error_of([&] { learn_subwords(units, possible + 1, "t.txt"); }), "no more than"));
  CHECK(contains(error_of([&] { learn_subwords(count_units("\n\t\n\xff"), 300, "t.txt"); }),
                 "t.txt: there is no text to learn subwords from"));
}

TEST_CASE("subwords: bytes of tokens, and the part of a text within a number of bytes") {
  const Vocabulary& vocabulary = small();
  const std::string text = sample(3);
  const std::vector<int32_t> ids = vocabulary.encode(text);
  const Tokens tokens(ids, vocabulary.size());
  for (int64_t limit = 1; limit <= std::ssize(text); limit += 5) {
    const Tokens part = first_part(tokens, vocabulary, limit);
    const int64_t bytes = text_bytes(part, vocabulary, 0, part.size());
    CHECK(bytes <= limit);
    CHECK(bytes + std::ssize(vocabulary.piece(tokens[part.size()], -1)) > limit);
  }
  CHECK(first_part(tokens, vocabulary, 0).size() == tokens.size());
  CHECK(first_part(tokens, vocabulary, 1 << 20).size() == tokens.size());
  CHECK(text_bytes(tokens, vocabulary, 1, tokens.size()) ==
        std::ssize(text) - std::ssize(vocabulary.piece(tokens[0], -1)));
  CHECK(
      contains(error_of([&] { text_bytes(tokens, vocabulary, 0, tokens.size() + 1); }), "are not among the"));
  CHECK(contains(error_of([&] { text_bytes(tokens, Vocabulary::from_hex("61"), 0, 1); }),
                 "a vocabulary of 1 was given"));

  const Vocabulary bytes = Vocabulary::of({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  const std::vector<int32_t> single = bytes.encode(text);
  CHECK(text_bytes(Tokens(single, bytes.size()), bytes, 3, 10) == 7);
  CHECK(first_part(Tokens(single, bytes.size()), bytes, 9).size() == 9);
  const Vocabulary words = Vocabulary::of_words("<unk>\n<eos>\n");
  CHECK(text_bytes(Tokens(words.encode("a b"), 2), words, 0, 2) == 0);
}

}  // namespace
}  // namespace tandem::testing
