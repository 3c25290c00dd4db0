// Arithmetic of the tree; it adds nothing itself.
#include "tandem/core/shard_tree.h"

#include <algorithm>
#include <bit>

#include "tandem/core/check.h"

namespace tandem {

IndexRange part_of(int64_t count, int64_t parts, int64_t index) {
  TANDEM_CHECK(parts >= 1 && index >= 0 && index < parts && count >= 0,
               "part_of: part {} of {} items in {} parts does not exist; parts count from 0", index, count,
               parts);
  // floor(index count / parts), without the product, which may be too large.
  const auto begin = [count, parts](int64_t i) { return count / parts * i + count % parts * i / parts; };
  return {begin(index), begin(index + 1)};
}

bool are_siblings(int64_t shards, IndexRange left, IndexRange right) {
  if (left.last != right.first || left.size() < 1 || right.size() < 1) return false;
  // A left child is a power of two wide and begins at a multiple of twice its width; the right one is as wide, or ends
  // where the shards do.
  const int64_t width = left.size();
  return std::has_single_bit(static_cast<uint64_t>(width)) && left.first % (2 * width) == 0 &&
         right.last == std::min(shards, left.last + width);
}

std::vector<IndexRange> nodes_of(int64_t shards, IndexRange range) {
  TANDEM_CHECK(0 <= range.first && range.first <= range.last && range.last <= shards,
               "nodes_of: {} .. {} is not a range of the {} shards", range.first, range.last, shards);
  struct Nothing {};
  TreeSum<Nothing> tree(shards, [](Nothing&, Nothing&) {});
  for (int64_t s = range.first; s < range.last; ++s) tree.push({s, s + 1}, {});
  std::vector<IndexRange> nodes;
  for (const auto& part : tree.parts()) nodes.push_back(part.shards);
  return nodes;
}

}  // namespace tandem
