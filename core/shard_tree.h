// The fixed tree in which the gradients of S shards are added, so that the sum is the same bits whichever ranks hold them.
//
// A node of the tree is a range of shards. The root is [0, S). A node of more than one shard has a left child, whose size
// is the largest power of two below its own, and the rest as its right child. For S = 6:
//
//     [0 1 2 3 4 5] = [0 1 2 3] + [4 5],   [0 1 2 3] = [0 1] + [2 3],   [0 1] = [0] + [1],   ...
//
// A rank has neighbouring shards. It adds those that are whole nodes by itself, and sends the largest nodes that it has.
// Source: the binary counter of pairwise summation (Higham, "The accuracy of floating point summation", 1993).
#pragma once
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

namespace tandem {

// The items first .. last - 1.
struct IndexRange {
  int64_t first = 0, last = 0;

  int64_t size() const { return last - first; }
  bool contains(int64_t index) const { return first <= index && index < last; }
  bool operator==(const IndexRange&) const = default;
};

// Returns part `index` of `count` items that are cut into `parts` ranges, whose sizes differ by at most one: the shards of
// a rank, the columns of a shard, the elements of a slice. Error: parts < 1; index outside 0 .. parts - 1; count < 0.
IndexRange part_of(int64_t count, int64_t parts, int64_t index);

// Returns whether `left` and `right` are the two children of one node of the tree over `shards` shards.
bool are_siblings(int64_t shards, IndexRange left, IndexRange right);

// Returns the largest nodes of the tree that `range` consists of, from left to right. Error: the range is not within the
// shards.
std::vector<IndexRange> nodes_of(int64_t shards, IndexRange range);

// Adds values of nodes, which arrive from left to right, and keeps as few as possible: at most log2(S) + 1.
template <class Value>
class TreeSum {
 public:
  struct Part {
    IndexRange shards;
    Value value;
  };
  // `add(left, right)` must leave the sum in `left`; `right` is dropped then.
  using Add = std::function<void(Value& left, Value& right)>;

  TreeSum(int64_t shards, Add add) : shards_(shards), add_(std::move(add)) {}

  // Adds the value of a node that begins where the last one ended.
  void push(IndexRange node, Value value) {
    parts_.push_back({node, std::move(value)});
    while (parts_.size() > 1) {
      Part &left = parts_[parts_.size() - 2], &right = parts_.back();
      if (!are_siblings(shards_, left.shards, right.shards)) return;
      add_(left.value, right.value);
      left.shards.last = right.shards.last;
      parts_.pop_back();
    }
  }

  // The nodes that are left: nodes_of() the range that was pushed; one, [0, S), when all shards were.
  std::vector<Part>& parts() { return parts_; }

 private:
  int64_t shards_;
  Add add_;
  std::vector<Part> parts_;
};

}  // namespace tandem
