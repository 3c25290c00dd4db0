// Filters over time, for segments and for single rows.
#include "tandem/models/layers/convolution.h"

#include <algorithm>

#include "tandem/core/array.h"
#include "tandem/ops/causal_conv.h"
#include "tandem/ops/slice.h"

namespace tandem {

Tensor initial_filter(int64_t channels, int64_t width, DType dtype, Device device) {
  Tensor w({channels, width}, DType::f64);
  for (int64_t i = 0; i < w.numel(); ++i)
    w.data<double>()[i] = i % width == width - 1 ? 0.5 : 0.5 / static_cast<double>(width);
  return w.to(dtype).to(device);
}

Tensor filtered(const Tensor& p, const Tensor& filter, int64_t without) {
  if (!filter.defined()) return p;
  const Tensor y = causal_conv(p, filter);
  return without > 0 ? slice(y, without, y.size(0)) : y;
}

Tensor filtered_next(const Tensor& p, const Tensor& filter, Tensor& prefix, const Tensor& bias) {
  if (!filter.defined()) return p;
  if (prefix.defined()) prefix = prefix.to(p.dtype());
  const Tensor y = causal_conv(p, filter, bias, prefix);
  prefix = next_prefix(prefix, p, filter.size(1));
  return y;
}

Tensor next_prefix(const Tensor& prefix, const Tensor& x, int64_t width) {
  const Tensor before =
      prefix.defined() ? prefix : zeros({width - 1, x.size(1), x.size(2)}, x.dtype(), x.device());
  return next_memory(before, x, {.memory = width - 1});
}

FilteredMemory::FilteredMemory(const Tensor& before, const Tensor& x, const AttentionContext& context,
                               int64_t width)
    : memory(before), rows(before.defined() ? before.size(0) : 0), dtype_(x.dtype()), kept_(context) {
  const int64_t seen = context.memory_after(x.size(0)), taps = width > 0 ? width - 1 : 0;
  for_queries = std::min(rows, taps);
  unseen = taps > 0 ? rows - std::min(rows, seen) : 0;
  kept_.memory = seen + taps;
}

Tensor FilteredMemory::last(int64_t count) const {
  return count > 0 ? memory.view_rows(rows - count, rows).to(dtype_) : Tensor();
}

Tensor FilteredMemory::next(const Tensor& x) const {
  return next_memory(memory, x, kept_);
}

}  // namespace tandem
