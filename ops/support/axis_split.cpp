// Splitting of shapes at an axis.
#include "tandem/ops/support/axis_split.h"

#include <array>
#include <span>

namespace tandem {

AxisSplit split_at(const Shape& shape, int axis) {
  AxisSplit s{1, shape[axis], 1};
  const int at = axis < 0 ? axis + shape.rank() : axis;
  for (int i = 0; i < shape.rank(); ++i) (i < at ? s.outer : s.inner) *= i == at ? 1 : shape[i];
  return s;
}

Shape without_axis(const Shape& shape, int axis) {
  const int at = axis < 0 ? axis + shape.rank() : axis;
  std::array<int64_t, Shape::kMaxRank> sizes{};
  int rank = 0;
  for (int i = 0; i < shape.rank(); ++i)
    if (i != at) sizes[rank++] = shape[i];
  return Shape(std::span<const int64_t>(sizes.data(), rank));
}

}  // namespace tandem
