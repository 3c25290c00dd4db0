// The vocabulary of a byte-level model: which byte values it knows, and the id of each.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

// A bijection between up to 256 byte values and the ids 0 .. size() - 1.
class Vocabulary {
 public:
  Vocabulary() { ids_.fill(-1); }

  // The distinct values of `bytes` in ascending order: a byte's id is its rank among them.
  static Vocabulary of(std::span<const uint8_t> bytes);

  // Reads to_hex() back. Any order of ids is taken; an empty or odd-length string, other characters than hex
  // digits and a repeated byte are errors.
  static Vocabulary from_hex(std::string_view hex);

  // Two lower-case hex digits per byte value, in id order: the metadata `vocab` of a checkpoint.
  std::string to_hex() const;

  int32_t size() const { return static_cast<int32_t>(bytes_.size()); }
  bool contains(uint8_t byte) const { return ids_[byte] >= 0; }

  // The id of a byte, -1 for one that the vocabulary does not have.
  int32_t id(uint8_t byte) const { return ids_[byte]; }

  // The byte of an id; throws unless 0 <= id < size().
  uint8_t byte(int32_t id) const;

  // Throws on the first byte that the vocabulary does not have, naming its value and offset.
  void check_covers(std::span<const uint8_t> bytes) const;

  // Ids of bytes, with the error of check_covers, and back.
  std::vector<int32_t> encode(std::span<const uint8_t> bytes) const;
  std::vector<int32_t> encode(std::string_view text) const;
  std::string decode(std::span<const int32_t> ids) const;

  bool operator==(const Vocabulary& other) const { return bytes_ == other.bytes_; }

 private:
  void append(uint8_t byte);

  std::vector<uint8_t> bytes_;    // by id
  std::array<int32_t, 256> ids_;  // by byte, -1 where absent
};

}  // namespace tandem
