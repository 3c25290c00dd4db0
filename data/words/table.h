// WordTable: words, numbered in the order in which they are first seen.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// A hash table with open addressing, twice as fast as std::unordered_map for texts of a billion words. It keeps
// all words in one string.
class WordTable {
 public:
  int32_t size() const { return static_cast<int32_t>(ends_.size()); }
  // Returns the number of a word, -1 if the table lacks it.
  int32_t find(std::string_view word) const;
  // Returns the number of a word and adds it first if the table lacks it. Words must not contain a newline.
  int32_t add(std::string_view word);
  // Returns the word of a number, 0 <= number < size(). The view is valid until the next add().
  std::string_view word(int32_t number) const {
    const size_t begin = number == 0 ? 0 : ends_[static_cast<size_t>(number) - 1] + 1;
    return std::string_view(text_).substr(begin, ends_[static_cast<size_t>(number)] - begin);
  }
  // Returns all words in the order of their numbers, each followed by a newline.
  const std::string& text() const { return text_; }

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t number = -1;  // -1: the slot is free
  };
  // Returns the slot that holds a word, or that it would take.
  size_t slot_of(std::string_view word, uint32_t hash) const;
  void grow();

  std::vector<Slot> slots_{16};  // their number is a power of two, and at most half of them are taken
  std::string text_;
  std::vector<size_t> ends_;  // where each word ends in text_
};

}  // namespace tandem
