// Checks token ids.
#include "tandem/ops/support/check_ids.h"

#include <span>

#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/macros.h"

namespace tandem {
namespace {

// True if all ids are in least..least+count-1. As unsigned numbers, those below are too large as well.
TANDEM_SIMD bool all_within(const int32_t* ids, int64_t n, uint32_t least, uint32_t count) {
  uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
  for (int64_t i = 0; i < n; ++i) bad |= static_cast<uint32_t>(ids[i]) - least >= count;
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

void check_ids(const char* what, const Tensor& ids, int64_t count, int64_t least) {
  TANDEM_CHECK(ids.dtype() == DType::i32, "{} are {}; they must be i32", what, ids.summary());
  if (!ids.device().is_cpu() || all_within(ids.data<int32_t>(), ids.numel(), static_cast<uint32_t>(least),
                                           static_cast<uint32_t>(count - least)))
    return;
  for (int64_t i = 0; i < ids.numel(); ++i) {
    const int32_t id = ids.data<int32_t>()[i];
    TANDEM_CHECK(id >= least && id < count,
                 "{}: {} at position ({}) of {} is outside {}..{}; does the vocabulary fit the model?", what,
                 id, position(ids.shape(), i), ids.shape().str(), least, count - 1);
  }
}

void check_logits_and_targets(const char* op, const Tensor& logits, const Tensor& targets) {
  check_floating(op, {{"logits", logits}});
  check_defined(op, {{"targets", targets}});
  TANDEM_CHECK(logits.rank() >= 1 && (logits.size(-1) > 0 || targets.numel() == 0),
               "{}: logits are {}; they must be floating (..., V)", op, logits.summary());
  const std::span<const int64_t> leading(logits.shape().begin(), logits.rank() - 1);
  TANDEM_CHECK(targets.shape() == Shape(leading) && targets.device() == logits.device(),
               "{}: logits are {}, targets {}; targets must have the logits' leading sizes {} and device", op,
               logits.summary(), targets.summary(), Shape(leading).str());
}

}  // namespace tandem
