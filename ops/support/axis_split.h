// One axis of a tensor among the others, for operators that go over it.
#pragma once
#include "tandem/core/shape.h"

namespace tandem {

// Views a tensor as (outer, count, inner); the middle axis is the one to go over.
struct AxisSplit {
  int64_t outer, count, inner;
};

// Returns the split at an axis, of which -1 is the last. Error: no such axis.
AxisSplit split_at(const Shape& shape, int axis);

// Returns the shape without this axis. Error: no such axis.
Shape without_axis(const Shape& shape, int axis);

}  // namespace tandem
