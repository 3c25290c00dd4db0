// Texts of any size as words: read in a stream, counted and encoded by all threads. What is in memory at a
// time are a few blocks of text and of ids, and the words.
//
// Tokens are the words of a line and a line end behind each line, blank ones too; in benchmarks of separate
// sentences a mark before each as well (<S> ... <S>). A last line without a newline counts as one.
#pragma once
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "data/words/vocabulary.h"

namespace tandem {

// Train, dev or test, as they follow each other in the ids.
inline constexpr int kTrain = 0, kDev = 1, kTest = 2;

// A part of a text: ids are ordered by split, then by name, whatever the order it is read in.
struct TextPart {
  int split = kTrain;
  std::string name;
  auto operator<=>(const TextPart&) const = default;
};

// Takes the next bytes of a part; those of one come before any of the next.
using TextSink = std::function<void(const TextPart& part, std::span<const uint8_t> bytes)>;
// Reads all of a text into a sink, and the same each time it is called. A part begins and ends with a line.
using TextReader = std::function<void(const TextSink& sink)>;

struct LineMarks {
  std::string end{kLineEnds[0]};
  bool begin = false;  // `end` before each line, too
};

// Told how many bytes of text are done.
using TextProgress = std::function<void(int64_t bytes)>;

struct TextCounts {
  std::map<TextPart, int64_t> tokens;  // of each part, marks included
  WordCounts words;                    // of the training parts, marks included
};

TextCounts count_words(const TextReader& text, const LineMarks& marks, const TextProgress& progress = {});

// Takes the next ids of a part, in the order of the text.
using IdSink = std::function<void(const TextPart& part, std::span<const int32_t> ids)>;
void encode_words(const TextReader& text, const WordVocabulary& vocabulary, bool marks_begin,
                  const IdSink& sink, const TextProgress& progress = {});

}  // namespace tandem
