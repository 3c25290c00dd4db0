// This file decides where parameters are cut.
#include "tandem/models/training/update_owners.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "tandem/core/check.h"

namespace tandem {

UpdateOwners::UpdateOwners(std::vector<int64_t> sizes, const std::vector<int64_t>& grains, int ranks)
    : sizes_(std::move(sizes)) {
  TANDEM_CHECK(ranks >= 1, "update owners: {} ranks cannot share parameters; at least 1", ranks);
  TANDEM_CHECK(sizes_.size() == grains.size(), "update owners: there are {} parameters, and {} grains",
               sizes_.size(), grains.size());
  for (const int64_t grain : grains)
    TANDEM_CHECK(grain >= 1, "update owners: a parameter cannot be cut at multiples of {}", grain);
  const int64_t total = std::accumulate(sizes_.begin(), sizes_.end(), int64_t{0});
  cuts_.push_back({0, 0});
  size_t parameter = 0;
  int64_t before = 0;  // elements of the parameters before this one
  for (int rank = 1; rank < ranks; ++rank) {
    const int64_t wanted = part_of(total, ranks, rank).first;
    while (parameter < sizes_.size() && before + sizes_[parameter] <= wanted) before += sizes_[parameter++];
    if (parameter == sizes_.size()) {
      cuts_.push_back({parameter, 0});
      continue;
    }
    // The nearest place where this parameter may be cut, its ends included; never before the last cut.
    const int64_t size = sizes_[parameter], grain = grains[parameter], within = wanted - before;
    const int64_t below = within / grain * grain, above = std::min(size, below + grain);
    const int64_t element = within - below <= above - within ? below : above;
    Cut cut = element == size ? Cut{parameter + 1, 0} : Cut{parameter, element};
    const Cut& last = cuts_.back();
    if (std::pair(cut.parameter, cut.element) < std::pair(last.parameter, last.element)) cut = last;
    cuts_.push_back(cut);
  }
  cuts_.push_back({sizes_.size(), 0});
}

IndexRange UpdateOwners::own(size_t parameter, int rank) const {
  const Cut first = begin(rank), last = begin(rank + 1);
  if (parameter < first.parameter || parameter > last.parameter) return {};
  const int64_t from = parameter == first.parameter ? first.element : 0;
  const int64_t to = parameter == last.parameter ? last.element : sizes_.at(parameter);
  return from < to ? IndexRange{from, to} : IndexRange{};
}

Tensor part_of_tensor(const Tensor& whole, IndexRange range) {
  if (range == IndexRange{0, whole.numel()}) return whole;
  return whole.detach().view_as({whole.numel()}).view_rows(range.first, range.last);
}

}  // namespace tandem
