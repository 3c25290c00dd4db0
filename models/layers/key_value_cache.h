// KeyValueCache: the last keys and values of an attention layer, for generation.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "tandem/core/tensor.h"

namespace tandem {

// A batch of texts is held as groups: neighbours in the batch that see equally many keys, at first all of them. A group has
// a buffer with twice as many rows as are visible. Rows are appended; at the end of the buffer the visible ones move to the
// front. They are thus contiguous and in order, at the cost of about one copy per row. Texts that join a batch are groups
// of their own until their memory is full, so that attention, which is computed group by group, gives each text the bits
// that it would have alone.
class KeyValueCache {
 public:
  // `visible`: number of keys that a query sees. Error: it is not positive.
  KeyValueCache(int64_t visible, int64_t batch, int64_t width, DType dtype, Device device);

  // Computes the attention of q (T, n, D) over the keys and values (rows, n, width) of a group, oldest first, whose last T
  // rows are those of the queries. There are at most visible - 1 + T rows.
  using Attend = std::function<Tensor(const Tensor& q, const Tensor& kv)>;
  // Adds the rows kv (T, B, width) of the queries q (T, B, D), and returns their attention (T, B, D).
  Tensor attend(const Tensor& q, const Tensor& kv, const Attend& attend);

  // See Decoder::keep() and Decoder::append().
  void keep(std::span<const int64_t> rows);
  void append(KeyValueCache& other);

 private:
  struct Group {
    Tensor buffer;    // (2 visible, n, width)
    int64_t end = 0;  // rows in use
    int64_t batch() const { return buffer.size(1); }
  };
  // Makes one group of neighbours whose queries all see as much as they ever will, so that one pass computes their attention.
  void join_full_groups();
  // Adds rows (T, n, width) to a group. Returns what their queries may see, if possible as a view of the buffer.
  Tensor add(Group& group, const Tensor& rows) const;

  int64_t visible_;
  std::vector<Group> groups_;
};

}  // namespace tandem
