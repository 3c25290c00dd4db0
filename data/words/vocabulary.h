// Words and their ids: counted in a text, chosen by frequency, looked up.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "data/words/table.h"

namespace tandem {

// Of every word that a vocabulary lacks, and at the end of every line. The second of each are those of the
// One Billion Word benchmark (Chelba et al. 2014), where <S> begins a sentence, too.
inline constexpr std::string_view kUnknownWords[] = {"<unk>", "<UNK>"};
inline constexpr std::string_view kLineEnds[] = {"<eos>", "<S>"};

class WordVocabulary {
 public:
  // `text` holds the words in id order, a newline behind each. Throws on an empty word, one with a blank in
  // it, one that stands twice, and where <unk> or <eos> (or the other names above) is missing.
  explicit WordVocabulary(std::string_view text);

  int32_t size() const { return words_.size(); }
  const std::string& text() const { return words_.text(); }
  // The unknown word's for a word that is not there.
  int32_t id(std::string_view word) const {
    const int32_t found = words_.find(word);
    return found < 0 ? unknown_ : found;
  }
  // Throws unless 0 <= id < size().
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
  int32_t size() const { return words_.size(); }  // different words
  // Of word number 0 .. size() - 1, in the order in which they came.
  std::string_view word(int32_t number) const { return words_.word(number); }
  int64_t count(int32_t number) const { return counts_[static_cast<size_t>(number)]; }

 private:
  WordTable words_;
  std::vector<int64_t> counts_;  // by number
};

struct VocabularyLimit {
  int64_t size = 0;       // at most so many words, <unk> and the line end among them; 0: all
  int64_t min_count = 1;  // of words that are rarer, none
};

// The text of a WordVocabulary: the words that `choice` leaves, the most frequent first, of equally frequent
// ones the lesser in bytes; <unk>, which counts for all the others, and `line_end`, always. Throws unless
// size is 0 or at least 3, and min_count at least 1.
std::string choose_words(const WordCounts& counts, const VocabularyLimit& choice,
                         std::string_view line_end = kLineEnds[0]);

// Calls on_word(std::string_view) for every word of `text` and on_line_end() for every newline. Words are
// what stands between blanks, which are those of Unicode in UTF-8, as for Python's str.split().
template <class OnWord, class OnLineEnd>
void for_each_word(std::string_view text, OnWord&& on_word, OnLineEnd&& on_line_end);

namespace detail {

// What a byte may begin: 0 part of a word, 1 a blank of one byte, 2 perhaps a blank of several.
struct BlankTable {
  uint8_t kind[256] = {};
  constexpr BlankTable() {
    for (const char blank : {' ', '\t', '\n', '\v', '\f', '\r', '\x1c', '\x1d', '\x1e', '\x1f'})
      kind[static_cast<int>(blank)] = 1;
    for (const int lead : {0xc2, 0xe1, 0xe2, 0xe3}) kind[lead] = 2;
  }
};
inline constexpr BlankTable kBlanks;

// Bytes of the blank of several bytes that `text` begins with, 0 when it does not.
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
