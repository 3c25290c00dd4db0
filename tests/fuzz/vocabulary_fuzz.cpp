// Vocabularies and words: a text is a vocabulary of bytes, of words, or an Error; and any text can be counted and encoded.
#include <algorithm>
#include <cctype>

#include "support.h"
#include "tandem/data/vocabulary.h"
#include "tandem/data/words/text.h"

namespace tandem::fuzz {
namespace {

void check_hex(std::string_view text) {
  Vocabulary vocabulary;
  if (!accepts([&] { vocabulary = Vocabulary::from_hex(text); })) return;
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
  require(vocabulary.to_hex() == lower, "a vocabulary of bytes comes back as hex");
  for (int32_t id = 0; id < vocabulary.size(); ++id)
    require(vocabulary.id(vocabulary.byte(id)) == id, "a byte has one id");
}

void check_words(std::string_view text) {
  Vocabulary vocabulary;
  if (!accepts([&] { vocabulary = Vocabulary::of_words(text); })) return;
  require(vocabulary.words().text() == text, "a vocabulary of words comes back as text");
  std::vector<int32_t> ids;
  for (int32_t id = 0; id < vocabulary.size(); ++id) {
    require(vocabulary.words().id(vocabulary.words().word(id)) == id, "a word has one id");
    ids.push_back(id);
  }
  require(vocabulary.encode(vocabulary.decode(ids)) == ids, "ids that are decoded are encoded as they were");
}

void check_splitting(std::string_view text) {
  size_t at = 0, newlines = 0;
  for_each_word(
      text,
      [&](std::string_view word) {
        const auto begin = static_cast<size_t>(word.data() - text.data());
        require(!word.empty() && begin >= at && begin + word.size() <= text.size(),
                "words follow each other");
        require(word.find_first_of(" \t\r\n") == std::string_view::npos, "no word holds a blank");
        at = begin + word.size();
      },
      [&newlines] { ++newlines; });
  require(newlines == static_cast<size_t>(std::ranges::count(text, '\n')), "each newline ends a line");
}

void check_counting(std::string_view text) {
  const auto read = [text](const TextSink& sink) {
    for (size_t at = 0; at < text.size(); at += 100) {
      const std::string_view block = text.substr(at, 100);
      sink({kTrain, "text"}, {reinterpret_cast<const uint8_t*>(block.data()), block.size()});
    }
  };
  const TextCounts counts = count_words(read, LineMarks());
  const WordVocabulary words(choose_words(counts.words, VocabularyLimit()));
  int64_t ids = 0;
  encode_words(read, words, false, [&](const TextPart&, std::span<const int32_t> block) {
    require(std::ranges::all_of(block, [&](int32_t id) { return id >= 0 && id < words.size(); }),
            "ids are of the words");
    ids += std::ssize(block);
  });
  const auto counted = counts.tokens.find({kTrain, "text"});
  require(ids == (counted == counts.tokens.end() ? 0 : counted->second),
          "as many tokens are encoded as counted");
}

}  // namespace
}  // namespace tandem::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tandem::fuzz;
  const std::string_view text = text_of(data, size);
  check_hex(text);
  check_words(text);
  check_splitting(text);
  check_counting(text);
  return 0;
}
