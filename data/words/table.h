// Words, numbered in the order in which they are first seen.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// A hash table with open addressing: texts of a billion words are looked up in it, twice as fast as in
// std::unordered_map, and the words lie one after the other.
class WordTable {
 public:
  int32_t size() const { return static_cast<int32_t>(ends_.size()); }
  // The number of a word, -1 for one that is not there.
  int32_t find(std::string_view word) const;
  // The number of a word, which is added where it is not there yet. Words hold no newline.
  int32_t add(std::string_view word);
  // Of 0 <= number < size(); valid until the next add().
  std::string_view word(int32_t number) const {
    const size_t begin = number == 0 ? 0 : ends_[static_cast<size_t>(number) - 1] + 1;
    return std::string_view(text_).substr(begin, ends_[static_cast<size_t>(number)] - begin);
  }
  // All words in the order of their numbers, a newline behind each.
  const std::string& text() const { return text_; }

 private:
  struct Slot {
    uint32_t hash = 0;
    int32_t number = -1;  // of no word
  };
  // The slot where a word is, or would be.
  size_t slot_of(std::string_view word, uint32_t hash) const;
  void grow();

  std::vector<Slot> slots_{16};  // a power of two, at most half of them taken
  std::string text_;
  std::vector<size_t> ends_;  // in text_, of each word
};

}  // namespace tandem
