// Checks and printing of shapes.
#include "tandem/core/shape.h"

#include <fmt/format.h>

#include "tandem/core/check.h"

namespace tandem {

Shape::Shape(std::span<const int64_t> sizes) : rank_(static_cast<int>(sizes.size())) {
  constexpr size_t kShown = 16;
  TANDEM_CHECK(sizes.size() <= kMaxRank, "Shape: {} axes given ({}{}); at most {} are supported",
               sizes.size(), fmt::join(sizes.first(std::min(sizes.size(), kShown)), ", "),
               sizes.size() > kShown ? ", ..." : "", kMaxRank);
  bool empty = false;
  for (int64_t size : sizes) empty = empty || size == 0;
  for (int axis = 0; axis < rank_; ++axis) {
    TANDEM_CHECK(sizes[axis] >= 0, "Shape: negative size in ({})", fmt::join(sizes, ", "));
    sizes_[axis] = sizes[axis];
    constexpr int64_t kLimit = int64_t{1} << 62;
    TANDEM_CHECK(empty || sizes[axis] <= kLimit / numel_, "Shape: ({}) has more than 2^62 elements",
                 fmt::join(sizes, ", "));
    numel_ = empty ? 0 : numel_ * sizes[axis];
  }
}

int64_t Shape::operator[](int axis) const {
  const int i = axis < 0 ? axis + rank_ : axis;
  TANDEM_CHECK(i >= 0 && i < rank_, "Shape: axis {} of {} does not exist", axis, str());
  return sizes_[i];
}

Shape Shape::with(int axis, int64_t size) const {
  const int i = axis < 0 ? axis + rank_ : axis;
  TANDEM_CHECK(i >= 0 && i < rank_, "Shape::with: axis {} of {} does not exist", axis, str());
  std::array<int64_t, kMaxRank> sizes = sizes_;
  sizes[i] = size;
  return Shape(std::span<const int64_t>(sizes.data(), rank_));
}

std::string Shape::str() const {
  return fmt::format("({})", fmt::join(begin(), end(), ", "));
}

}  // namespace tandem
