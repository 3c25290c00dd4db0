// UpdateOwners: which elements of the parameters each rank updates, so that the ranks divide the optimizer's work and its
// moments among themselves, and then give each other the new values. Source: Rajbhandari et al., "ZeRO: Memory
// Optimizations Toward Training Trillion Parameter Models" (2020, arXiv 1910.02054), stage 1.
#pragma once
#include <cstdint>
#include <vector>

#include "tandem/core/shard_tree.h"
#include "tandem/core/tensor.h"

namespace tandem {

// The parameters, one behind the other, lie in buckets (gradient_buckets.h), and each bucket is cut into as many ranges as
// there are ranks. Each rank owns one of each bucket, so at most one range of each parameter.
class UpdateOwners {
 public:
  // A range begins at an element of a parameter.
  struct Cut {
    size_t parameter;
    int64_t element;
  };

  // A parameter of sizes[i] elements may be cut at multiples of grains[i]. The ranges of a bucket are as equal as these cuts
  // allow. Error: ranks < 1; sizes and grains differ in number; a grain below 1; the buckets do not follow one another from
  // the first parameter to the last.
  UpdateOwners(std::vector<int64_t> sizes, const std::vector<int64_t>& grains, int ranks,
               std::vector<IndexRange> buckets);

  int ranks() const { return ranks_; }
  // The parameters of each bucket.
  const std::vector<IndexRange>& buckets() const { return buckets_; }
  // Returns where the range of a rank begins within a bucket; that of rank ranks(), which does not exist, begins behind the
  // bucket.
  Cut begin(size_t bucket, int rank) const { return cuts_.at(bucket).at(static_cast<size_t>(rank)); }
  // Returns the elements of a parameter that a rank owns, of none [0, 0).
  IndexRange own(size_t parameter, int rank) const;

 private:
  // Returns where the ranges of a bucket begin, and its end.
  std::vector<Cut> cuts_of(IndexRange bucket, const std::vector<int64_t>& grains) const;

  std::vector<int64_t> sizes_;
  int ranks_;
  std::vector<IndexRange> buckets_;
  std::vector<std::vector<Cut>> cuts_;  // of each bucket, ranks + 1
};

// Returns the elements of `range` as a tensor of one axis that shares the memory of `whole`; `whole` itself if it has no
// others.
Tensor part_of_tensor(const Tensor& whole, IndexRange range);

}  // namespace tandem
