// Filters over time after a model's projections, each channel for itself (Primer), and the rows of the past
// that they need.
#pragma once
#include "models/layer.h"

namespace tandem {

// (channels, width): 0.5 for a row itself and 0.5 / width for each of those before it, as in Primer's code.
Tensor initial_filter(int64_t channels, int64_t width, DType dtype, Device device);

// Projections p (rows, B, C) filtered, less the first `without` rows, which are there for the others' sake.
// An undefined filter leaves p as it is.
Tensor filtered(const Tensor& p, const Tensor& filter, int64_t without);
// The same for one more row, (1, B, C): `prefix` holds those before it, undefined at the start of a text, and
// moves on.
Tensor filtered_next(const Tensor& p, const Tensor& filter, Tensor& prefix);

// The prefix that ops/causal_conv takes with the rows after x: the last width - 1 rows of (prefix, x), zeros
// where the text had not begun. x is (T, B, C), `prefix` (width - 1, B, C) or undefined. Without gradient.
Tensor next_prefix(const Tensor& prefix, const Tensor& x, int64_t width);

// The memory of an attention layer whose queries, keys and values are filtered. It has width - 1 rows more
// than a query sees, so that segments give what one long pass gives; without filters (width 0) it is an
// ordinary one.
struct FilteredMemory {
  // `before` is what the last segment left, x (T, B, D) the layer's input now.
  FilteredMemory(const Tensor& before, const Tensor& x, const AttentionContext& context, int64_t width);

  Tensor last(int64_t count) const;  // rows, in x's dtype; undefined for 0
  Tensor next(const Tensor& x) const;

  Tensor memory;  // (rows, B, D), in any floating dtype: it may come from a run in another precision; or
                  // undefined
  int64_t rows;
  int64_t for_queries;  // the last rows, which the filter of the queries looks back on
  int64_t unseen;       // the first rows, which no query sees

 private:
  DType dtype_;
  AttentionContext kept_;
};

}  // namespace tandem
