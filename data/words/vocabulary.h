// WordVocabulary: words and their ids, counted in a text, chosen by frequency, looked up.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tandem/data/words/table.h"

namespace tandem {

// The tokens for a word that the vocabulary lacks and for the end of a line. The second of each is the one of
// the One Billion Word benchmark (Chelba et al. 2014), in which <S> also begins a sentence.
inline constexpr std::string_view kUnknownWords[] = {"<unk>", "<UNK>"};
inline constexpr std::string_view kLineEnds[] = {"<eos>", "<S>"};

class WordVocabulary {
 public:
  // `text` holds the words in id order, each followed by a newline.
  // Error: a word that is empty, contains a blank or occurs twice; no <unk> or no <eos>, by either of their
  // names.
  explicit WordVocabulary(std::string_view text);

  int32_t size() const { return words_.size(); }
  const std::string& text() const { return words_.text(); }
  // Returns the id of a word, or unknown() if the vocabulary lacks it.
  int32_t id(std::string_view word) const {
    const int32_t found = words_.find(word);
    return found < 0 ? unknown_ : found;
  }
  // Error: an id outside 0 .. size() - 1.
  std::string_view word(int32_t id) const;
  int32_t unknown() const { return unknown_; }
  int32_t line_end() const { return line_end_; }

 private:
  WordTable words_;  // numbers are ids
  int32_t unknown_ = -1, line_end_ = -1;
};

// How often each word occurs.
class WordCounts {
 public:
  WordCounts() = default;
  WordCounts(std::initializer_list<std::pair<std::string_view, int64_t>> counts);

  void add(std::string_view word, int64_t times = 1);
  void add(const WordCounts& more);
  int64_t count(std::string_view word) const;
  int32_t size() const { return words_.size(); }  // number of different words
  // The words by number, 0 .. size() - 1, in the order in which they were first added.
  std::string_view word(int32_t number) const { return words_.word(number); }
  int64_t count(int32_t number) const { return counts_[static_cast<size_t>(number)]; }

 private:
  WordTable words_;
  std::vector<int64_t> counts_;  // by number
};

// Which words of a text its vocabulary holds.
struct VocabularyLimit {
  int64_t size = 0;       // largest number of words, <unk> and the line end included; 0: no limit
  int64_t min_count = 1;  // smallest number of occurrences
};

// Returns the text of a WordVocabulary: the words within `limit`, the most frequent first, equally frequent
// ones in the order of their bytes. <unk>, with the count of all words left out, and `line_end` are always
// among them.
// Error: a size of 1, 2 or below 0; min_count below 1.
std::string choose_words(const WordCounts& counts, const VocabularyLimit& limit,
                         std::string_view line_end = kLineEnds[0]);

// Calls on_word(std::string_view) for every word of `text` and on_line_end() for every newline. Words are
// separated by the blanks of Unicode, in UTF-8, as in Python's str.split().
template <class OnWord, class OnLineEnd>
void for_each_word(std::string_view text, OnWord&& on_word, OnLineEnd&& on_line_end);

namespace detail {

// Kind of a byte: 0 part of a word, 1 a blank of one byte, 2 perhaps the first byte of a longer blank.
struct BlankTable {
  uint8_t kind[256] = {};
  constexpr BlankTable() {
    for (const char blank : {' ', '\t', '\n', '\v', '\f', '\r', '\x1c', '\x1d', '\x1e', '\x1f'})
      kind[static_cast<int>(blank)] = 1;
    for (const int lead : {0xc2, 0xe1, 0xe2, 0xe3}) kind[lead] = 2;
  }
};
inline constexpr BlankTable kBlanks;

// Returns the length of the blank of several bytes that `text` begins with, 0 if it begins with none.
size_t wide_blank(std::string_view text);

}  // namespace detail

template <class OnWord, class OnLineEnd>
void for_each_word(std::string_view text, OnWord&& on_word, OnLineEnd&& on_line_end) {
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const uint8_t kind = detail::kBlanks.kind[static_cast<uint8_t>(text[at])];
    const size_t blank = kind < 2 ? kind : detail::wide_blank(text.substr(at));
    if (blank == 0) {
      ++at;
      continue;
    }
    if (at > begin) on_word(text.substr(begin, at - begin));
    if (text[at] == '\n') on_line_end();
    begin = at += blank;
  }
  if (begin < text.size()) on_word(text.substr(begin));
}

}  // namespace tandem
