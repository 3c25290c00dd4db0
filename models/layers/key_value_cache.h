// KeyValueCache: the last keys and values of an attention layer, for generation a token at a time.
#pragma once
#include "core/tensor.h"

namespace tandem {

// A buffer of twice as many rows as are visible. Rows are written one after the other; at its end the visible
// ones move to the front. So they lie together, in their order, and a row is copied once on average.
class KeyValueCache {
 public:
  // Error: no row visible.
  KeyValueCache(int64_t visible, int64_t batch, int64_t width, DType dtype, Device device);

  // Adds a row (1, B, width). The last rows, as many as are visible at most, oldest first: (n, B, width), a
  // view that the next append may overwrite.
  Tensor append(const Tensor& row);

 private:
  int64_t visible_;
  int64_t end_ = 0;
  Tensor buffer_;  // (2 visible, B, width)
};

}  // namespace tandem
