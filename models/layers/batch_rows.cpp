// Copies of runs of rows.
#include "tandem/models/layers/batch_rows.h"

#include "tandem/core/array.h"
#include "tandem/core/check.h"

namespace tandem {
namespace {

// A tensor (..., B, D) as `steps` planes (B, D), one below the other.
struct Planes {
  explicit Planes(const Tensor& x)
      : batch(x.size(-2)),
        steps(x.numel() == 0 ? 0 : x.numel() / (batch * x.size(-1))),
        rows(x.view_as({steps * batch, x.size(-1)})) {}

  Tensor of(int64_t step, int64_t begin, int64_t end) const {
    return rows.view_rows(step * batch + begin, step * batch + end);
  }

  int64_t batch, steps;
  Tensor rows;
};

// Returns uninitialised memory like x, but for the size of the batch.
Tensor with_batch(const Tensor& x, int64_t batch) {
  if (x.rank() == 2) return Tensor({batch, x.size(1)}, x.dtype(), x.device());
  TANDEM_CHECK(x.rank() == 3, "generation: the state of a layer is {}; it must be (rows, B, D) or (B, D)",
               x.summary());
  return Tensor({x.size(0), batch, x.size(2)}, x.dtype(), x.device());
}

}  // namespace

Tensor batch_rows(const Tensor& x, int64_t begin, int64_t end) {
  if (begin == 0 && end == x.size(-2)) return x;
  const Planes from(x);
  if (from.steps == 1) {
    const Tensor rows = from.of(0, begin, end);
    return x.rank() == 2 ? rows : rows.view_as({1, end - begin, x.size(-1)});
  }
  const Tensor y = with_batch(x, end - begin);
  const Planes to(y);
  for (int64_t step = 0; step < from.steps; ++step)
    copy(to.of(step, 0, end - begin), from.of(step, begin, end));
  return y;
}

void set_batch_rows(const Tensor& y, int64_t begin, const Tensor& rows) {
  const Planes to(y), from(rows);
  for (int64_t step = 0; step < from.steps; ++step)
    copy(to.of(step, begin, begin + from.batch), from.of(step, 0, from.batch));
}

Tensor kept_rows(const Tensor& x, std::span<const int64_t> rows) {
  if (!x.defined()) return x;
  const Tensor y = with_batch(x, static_cast<int64_t>(rows.size()));
  for (size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    // Rows that lie side by side are copied at once.
    for (end = begin + 1; end < rows.size() && rows[end] == rows[end - 1] + 1;) ++end;
    set_batch_rows(y, static_cast<int64_t>(begin), batch_rows(x, rows[begin], rows[end - 1] + 1));
  }
  return y;
}

Tensor joined_rows(const Tensor& a, int64_t rows_of_a, const Tensor& b, int64_t rows_of_b) {
  if (!a.defined() && !b.defined()) return a;
  const Tensor& like = a.defined() ? a : b;
  TANDEM_CHECK(
      !a.defined() || !b.defined() ||
          (a.rank() == b.rank() && a.size(-1) == b.size(-1) &&
           a.numel() * rows_of_b == b.numel() * rows_of_a),
      "generation: states {} and {} cannot be rows of one batch; a layer whose state grows with the text needs a "
      "decoder of its own",
      a.summary(), b.summary());
  const Tensor y = with_batch(like, rows_of_a + rows_of_b);
  if (!a.defined() || !b.defined()) fill(y, 0);
  if (a.defined()) set_batch_rows(y, 0, a);
  if (b.defined()) set_batch_rows(y, rows_of_a, b);
  return y;
}

}  // namespace tandem
