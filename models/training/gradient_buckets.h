// Buckets: parameters whose gradients are exchanged together. A backward pass completes the gradients of the last parameters
// first, so that the exchange of the last bucket can begin while those before it are still computed.
// Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training" (2020, arXiv 2006.15704), 3.2.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "tandem/core/shard_tree.h"

namespace tandem {

// Bytes at which a bucket is full. The last bucket, whose exchange is the first, is smaller, lest the links be idle for long.
struct BucketBytes {
  int64_t last = int64_t{1} << 20;
  int64_t other = int64_t{25} << 20;

  // All parameters in one bucket.
  static BucketBytes unlimited() {
    constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
    return {kMost, kMost};
  }
};

// Returns the buckets of parameters whose gradients have these sizes in bytes, as ranges of parameters, the first parameters
// first. Counted from the last parameter backwards, a bucket takes parameters until it is full. There is one bucket at least.
std::vector<IndexRange> gradient_buckets(const std::vector<int64_t>& bytes, BucketBytes full);

}  // namespace tandem
