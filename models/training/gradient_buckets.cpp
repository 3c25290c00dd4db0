// This file decides which gradients are exchanged together.
#include "tandem/models/training/gradient_buckets.h"

#include <algorithm>

namespace tandem {

std::vector<IndexRange> gradient_buckets(const std::vector<int64_t>& bytes, BucketBytes full) {
  std::vector<IndexRange> buckets;
  auto last = static_cast<int64_t>(bytes.size());
  int64_t sum = 0;
  for (int64_t i = last; i-- > 0;) {
    sum += bytes[static_cast<size_t>(i)];
    if (sum < (buckets.empty() ? full.last : full.other) && i > 0) continue;
    buckets.push_back({i, last});
    last = i;
    sum = 0;
  }
  if (buckets.empty()) buckets.push_back({0, 0});
  std::reverse(buckets.begin(), buckets.end());
  return buckets;
}

}  // namespace tandem
