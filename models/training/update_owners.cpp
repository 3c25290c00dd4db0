// This file decides where parameters are cut.
#include "tandem/models/training/update_owners.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "tandem/core/check.h"

namespace tandem {

UpdateOwners::UpdateOwners(std::vector<int64_t> sizes, const std::vector<int64_t>& grains, int ranks,
                           std::vector<IndexRange> buckets)
    : sizes_(std::move(sizes)), ranks_(ranks), buckets_(std::move(buckets)) {
  TANDEM_CHECK(ranks >= 1, "update owners: {} ranks cannot share parameters; at least 1", ranks);
  TANDEM_CHECK(sizes_.size() == grains.size(), "update owners: there are {} parameters, and {} grains",
               sizes_.size(), grains.size());
  for (const int64_t grain : grains)
    TANDEM_CHECK(grain >= 1, "update owners: a parameter cannot be cut at multiples of {}", grain);
  int64_t done = 0;
  for (const IndexRange& bucket : buckets_) {
    TANDEM_CHECK(bucket.first == done && bucket.last >= done,
                 "update owners: the bucket of parameters {} .. {} does not begin at {}", bucket.first,
                 bucket.last, done);
    done = bucket.last;
  }
  TANDEM_CHECK(done == static_cast<int64_t>(sizes_.size()),
               "update owners: the buckets end at {} of {} parameters", done, sizes_.size());
  for (const IndexRange& bucket : buckets_) cuts_.push_back(cuts_of(bucket, grains));
}

std::vector<UpdateOwners::Cut> UpdateOwners::cuts_of(IndexRange bucket,
                                                     const std::vector<int64_t>& grains) const {
  const auto last = static_cast<size_t>(bucket.last);
  auto parameter = static_cast<size_t>(bucket.first);
  const int64_t total =
      std::accumulate(sizes_.begin() + bucket.first, sizes_.begin() + bucket.last, int64_t{0});
  std::vector<Cut> cuts{{parameter, 0}};
  int64_t before = 0;  // elements of the bucket's parameters before this one
  for (int rank = 1; rank < ranks_; ++rank) {
    const int64_t wanted = part_of(total, ranks_, rank).first;
    while (parameter < last && before + sizes_[parameter] <= wanted) before += sizes_[parameter++];
    if (parameter == last) {
      cuts.push_back({parameter, 0});
      continue;
    }
    // The nearest place where this parameter may be cut, its ends included; never before the last cut.
    const int64_t size = sizes_[parameter], grain = grains[parameter], within = wanted - before;
    const int64_t below = within / grain * grain, above = std::min(size, below + grain);
    const int64_t element = within - below <= above - within ? below : above;
    Cut cut = element == size ? Cut{parameter + 1, 0} : Cut{parameter, element};
    const Cut& former = cuts.back();
    if (std::pair(cut.parameter, cut.element) < std::pair(former.parameter, former.element)) cut = former;
    cuts.push_back(cut);
  }
  cuts.push_back({last, 0});
  return cuts;
}

IndexRange UpdateOwners::own(size_t parameter, int rank) const {
  const auto bucket = std::find_if(buckets_.begin(), buckets_.end(), [parameter](const IndexRange& range) {
    return range.contains(static_cast<int64_t>(parameter));
  });
  TANDEM_CHECK(bucket != buckets_.end(), "update owners: no parameter {} among {}", parameter, sizes_.size());
  const auto b = static_cast<size_t>(bucket - buckets_.begin());
  const Cut first = begin(b, rank), last = begin(b, rank + 1);
  if (parameter < first.parameter || parameter > last.parameter) return {};
  const int64_t from = parameter == first.parameter ? first.element : 0;
  const int64_t to = parameter == last.parameter ? last.element : sizes_[parameter];
  return from < to ? IndexRange{from, to} : IndexRange{};
}

Tensor part_of_tensor(const Tensor& whole, IndexRange range) {
  if (range == IndexRange{0, whole.numel()}) return whole;
  return whole.detach().view_as({whole.numel()}).view_rows(range.first, range.last);
}

}  // namespace tandem
