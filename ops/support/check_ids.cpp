// Checks token ids.
#include "tandem/ops/support/check_ids.h"

#include "tandem/core/check.h"
#include "tandem/core/macros.h"

namespace tandem {
namespace {

// True if all ids are in 0..count-1. As unsigned numbers, negative ids are too large as well.
TANDEM_SIMD bool all_below(const int32_t* ids, int64_t n, uint32_t count) {
  uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
  for (int64_t i = 0; i < n; ++i) bad |= static_cast<uint32_t>(ids[i]) >= count;
  return bad == 0;
}

// Returns the coordinates of an element, such as "2, 0".
std::string position(const Shape& shape, int64_t index) {
  std::string text;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    text = std::to_string(index % shape[axis]) + (text.empty() ? "" : ", ") + text;
    index /= shape[axis];
  }
  return text;
}

}  // namespace

void check_ids(const char* what, const Tensor& ids, int64_t count) {
  TANDEM_CHECK(ids.dtype() == DType::i32, "{} are {}; they must be i32", what, ids.summary());
  if (!ids.device().is_cpu() || all_below(ids.data<int32_t>(), ids.numel(), static_cast<uint32_t>(count)))
    return;
  for (int64_t i = 0; i < ids.numel(); ++i) {
    const int32_t id = ids.data<int32_t>()[i];
    TANDEM_CHECK(id >= 0 && id < count,
                 "{}: {} at position ({}) of {} is outside 0..{}; does the vocabulary fit the model?", what,
                 id, position(ids.shape(), i), ids.shape().str(), count - 1);
  }
}

}  // namespace tandem
