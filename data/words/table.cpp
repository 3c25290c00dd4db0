// The hash table: linear probing.
#include "tandem/data/words/table.h"

#include <functional>
#include <utility>

namespace tandem {
namespace {

uint32_t hash_of(std::string_view word) {
  return static_cast<uint32_t>(std::hash<std::string_view>{}(word));
}

}  // namespace

size_t WordTable::slot_of(std::string_view word, uint32_t hash) const {
  const size_t mask = slots_.size() - 1;
  size_t at = hash & mask;
  while (slots_[at].number >= 0 && (slots_[at].hash != hash || this->word(slots_[at].number) != word))
    at = (at + 1) & mask;
  return at;
}

int32_t WordTable::find(std::string_view word) const {
  return slots_[slot_of(word, hash_of(word))].number;
}

int32_t WordTable::add(std::string_view word) {
  const uint32_t hash = hash_of(word);
  size_t at = slot_of(word, hash);
  if (slots_[at].number >= 0) return slots_[at].number;
  if (2 * (ends_.size() + 1) > slots_.size()) {
    grow();
    at = slot_of(word, hash);
  }
  slots_[at] = {hash, size()};
  text_ += word;
  ends_.push_back(text_.size());
  text_ += '\n';
  return size() - 1;
}

void WordTable::grow() {
  const std::vector<Slot> old = std::exchange(slots_, std::vector<Slot>(2 * slots_.size()));
  const size_t mask = slots_.size() - 1;
  for (const Slot& slot : old) {
    if (slot.number < 0) continue;
    size_t at = slot.hash & mask;
    while (slots_[at].number >= 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

}  // namespace tandem
