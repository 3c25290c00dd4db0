// Which bytes of an allocation a launch has touched.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

namespace tandem::simulator {

// A set of bytes, by their offset. Pages come into being when they are touched, so that a small part of a large
// allocation costs little.
class TouchedBytes {
 public:
  explicit TouchedBytes(size_t size) : pages_((size + kPage - 1) / kPage) {}

  void add(size_t begin, size_t bytes) {
    for (const size_t end = begin + bytes; begin < end;) {
      const size_t bit = begin % 64, count = std::min(64 - bit, end - begin);
      uint64_t& word = words(begin / kPage)[begin % kPage / 64];
      const uint64_t all = (count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << bit;
      fresh_ += static_cast<uint64_t>(std::popcount(all & ~word));
      word |= all;
      begin += count;
    }
  }
  uint64_t count() const { return fresh_; }

 private:
  static constexpr size_t kPage = 4096;
  using Words = uint64_t[kPage / 64];

  Words& words(size_t page) {
    if (!pages_[page]) pages_[page] = std::make_unique<Page>();
    return pages_[page]->words;
  }

  struct Page {
    Words words{};
  };
  std::vector<std::unique_ptr<Page>> pages_;
  uint64_t fresh_ = 0;
};

}  // namespace tandem::simulator
