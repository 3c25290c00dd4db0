// Counts and encodes the words of texts of any size, in a stream and with all threads. Memory holds a few
// blocks of text and ids at a time, and the words. A block ends at a blank, so a text without blanks is one block and
// one word; more than kLongestWord bytes of it are refused.
//
// The tokens of a line are its words and a line end, blank lines included. Benchmarks of separate sentences
// also have a mark before each line (<S> ... <S>). A last line without a newline counts as a line.
#pragma once
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "tandem/data/words/vocabulary.h"

namespace tandem {

// In bytes, from one blank to the next.
inline constexpr size_t kLongestWord = size_t{1} << 27;

// The splits, in the order in which token files store them.
inline constexpr int kTrain = 0, kDev = 1, kTest = 2;

// A part of a text. Ids are stored by split, then by name, in whatever order the parts are read.
struct TextPart {
  int split = kTrain;
  std::string name;
  auto operator<=>(const TextPart&) const = default;
};

// Takes the next bytes of a part. A part is complete before the next one begins.
using TextSink = std::function<void(const TextPart& part, std::span<const uint8_t> bytes)>;
// Reads a whole text into a sink, in the same way at every call. A part consists of whole lines.
using TextReader = std::function<void(const TextSink& sink)>;

struct LineMarks {
  std::string end{kLineEnds[0]};
  bool begin = false;  // whether the mark `end` stands before each line, too
};

// Is called with the number of bytes done so far.
using TextProgress = std::function<void(int64_t bytes)>;

struct TextCounts {
  std::map<TextPart, int64_t> tokens;  // number of tokens in each part, marks included
  WordCounts words;                    // words of the training parts, marks included
};

// Error: more than kLongestWord bytes without a blank or a newline.
TextCounts count_words(const TextReader& text, const LineMarks& marks, const TextProgress& progress = {});

// Takes the next ids of a part, in the order of the text.
using IdSink = std::function<void(const TextPart& part, std::span<const int32_t> ids)>;
// Encodes a text by a vocabulary; `marks_begin` is LineMarks::begin. Error: as count_words().
void encode_words(const TextReader& text, const WordVocabulary& vocabulary, bool marks_begin,
                  const IdSink& sink, const TextProgress& progress = {});

}  // namespace tandem
