// KeyValueCache: the last keys and values of an attention layer, for generation token by token.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// A buffer with twice as many rows as are visible. Rows are appended; at the end of the buffer the visible
// ones move to the front. They are thus contiguous and in order, at the cost of about one copy per row.
class KeyValueCache {
 public:
  // `visible`: number of keys that a query sees. Error: it is not positive.
  KeyValueCache(int64_t visible, int64_t batch, int64_t width, DType dtype, Device device);

  // Adds a row (1, B, width). Returns the last rows, at most `visible`, oldest first: (n, B, width), a view
  // that the next append may overwrite.
  Tensor append(const Tensor& row);

 private:
  int64_t visible_;
  int64_t end_ = 0;  // rows in use
  Tensor buffer_;    // (2 visible, B, width)
};

}  // namespace tandem
