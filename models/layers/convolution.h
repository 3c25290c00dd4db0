// Causal filters over time, one per channel, after an attention layer's projections (Primer: So et al.,
// NeurIPS 2021, arXiv 2109.08668), and the past rows that they need.
#pragma once
#include "tandem/models/layer.h"

namespace tandem {

// Returns a filter (channels, width): 0.5 for the row itself and 0.5 / width for each of the rows before
// it, as in Primer's code.
Tensor initial_filter(int64_t channels, int64_t width, DType dtype, Device device);

// Filters the projections p (rows, B, C) and drops the first `without` rows, which only serve the rows
// after them. An undefined filter returns p unchanged.
Tensor filtered(const Tensor& p, const Tensor& filter, int64_t without);
// Filters the next rows p (T, B, C) of a text. `prefix` holds the width - 1 rows before them, undefined at the start
// of a text, and becomes the prefix of the rows that follow. A run in another precision may have left it in another
// dtype.
Tensor filtered_next(const Tensor& p, const Tensor& filter, Tensor& prefix, const Tensor& bias = {});

// Returns the prefix that ops/causal_conv takes for the rows after x: the last width - 1 rows of (prefix,
// x), with zeros for rows before the text, without gradient. x is (T, B, C), `prefix` (width - 1, B, C) or
// undefined.
Tensor next_prefix(const Tensor& prefix, const Tensor& x, int64_t width);

// The memory of an attention layer whose queries, keys and values are filtered. It has width - 1 more rows
// than a query sees, so that segments give the same result as one long pass. Without filters (width 0) it
// is an ordinary memory.
struct FilteredMemory {
  // `before` is the memory that the last segment left, x (T, B, D) the layer's input in this segment.
  FilteredMemory(const Tensor& before, const Tensor& x, const AttentionContext& context, int64_t width);

  // Returns the last rows in x's dtype; undefined if count is 0.
  Tensor last(int64_t count) const;
  // Returns the memory for the next segment.
  Tensor next(const Tensor& x) const;

  // (rows, B, D) or undefined. Its dtype may differ from x's: a run in another precision may have left it.
  Tensor memory;
  int64_t rows;
  int64_t for_queries;  // number of last rows that the filter of the queries needs
  int64_t unseen;       // number of first rows that no query sees

 private:
  DType dtype_;
  AttentionContext kept_;
};

}  // namespace tandem
