// Appending to the cache.
#include "tandem/models/layers/key_value_cache.h"

#include <algorithm>

#include "tandem/core/array.h"
#include "tandem/core/check.h"

namespace tandem {

KeyValueCache::KeyValueCache(int64_t visible, int64_t batch, int64_t width, DType dtype, Device device)
    : visible_(visible) {
  TANDEM_CHECK(visible > 0, "generation: attention sees {} keys; give a memory of at least one token",
               visible);
  buffer_ = Tensor({2 * visible, batch, width}, dtype, device);
}

Tensor KeyValueCache::append(const Tensor& row) {
  if (end_ == buffer_.size(0)) {
    const int64_t kept = visible_ - 1;
    copy(buffer_.view_rows(0, kept), buffer_.view_rows(end_ - kept, end_));
    end_ = kept;
  }
  copy(buffer_.view_rows(end_, end_ + 1), row);
  ++end_;
  return buffer_.view_rows(std::max<int64_t>(0, end_ - visible_), end_);
}

}  // namespace tandem
