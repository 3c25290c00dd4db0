// concat: forward copies; backward hands out views of the rows of dy, or copies its columns.
#include "tandem/ops/concat.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/reshape.h"

namespace tandem {

Tensor concat(const std::vector<Tensor>& xs) {
  std::vector<Tensor> inputs;
  std::vector<int64_t> rows;
  int64_t total = 0;
  for (size_t i = 0; i < xs.size(); ++i) {
    const Tensor& x = xs[i];
    if (!x.defined()) continue;
    TANDEM_CHECK(x.rank() >= 1, "concat: xs[{}] is {}, which has no axis to join along", i, x.summary());
    if (!inputs.empty())
      TANDEM_CHECK(x.shape().tail() == inputs[0].shape().tail() && x.dtype() == inputs[0].dtype() &&
                       x.device() == inputs[0].device(),
                   "concat: xs[{}] is {}, the first is {}; all but the leading sizes must agree", i,
                   x.summary(), inputs[0].summary());
    inputs.push_back(x);
    rows.push_back(x.size(0));
    total += x.size(0);
  }
  TANDEM_CHECK(!inputs.empty(), "concat: none of the {} tensors in xs is defined", xs.size());
  const Tensor& first = inputs[0];

  const Tensor y(first.shape().with(0, total), first.dtype(), first.device());
  for (int64_t begin = 0; const Tensor& x : inputs) {
    copy(y.view_rows(begin, begin + x.size(0)), x);
    begin += x.size(0);
  }
  return record("concat", y, inputs, [rows](const Tensor& dy) -> Grads {
    Grads dxs;
    for (int64_t begin = 0; const int64_t count : rows) {
      dxs.push_back(dy.view_rows(begin, begin + count));
      begin += count;
    }
    return dxs;
  });
}

namespace cpu {

void copy_columns(const Columns& to, const Columns& from, int64_t columns) {
  if (columns == 0) return;
  dispatch_float(from.x.dtype(), "concat_columns", [&]<class T>() {
    const int64_t to_width = to.x.size(-1), from_width = from.x.size(-1);
    T* const y = to.x.data<T>() + to.begin;
    const T* const x = from.x.data<T>() + from.begin;
    for_rows(from.x.numel() / from_width, columns,
             [x, y, from_width, to_width, columns](int64_t row, int64_t end) {
               for (; row < end; ++row) std::copy_n(x + row * from_width, columns, y + row * to_width);
             });
  });
}

}  // namespace cpu

Tensor concat_columns(const std::vector<Tensor>& xs) {
  TANDEM_CHECK(!xs.empty(), "concat_columns: xs is empty; give at least one tensor");
  const Tensor& first = xs[0];
  std::vector<int64_t> widths;
  std::vector<bool> wanted;
  int64_t total = 0;
  for (size_t i = 0; i < xs.size(); ++i) {
    check_floating("concat_columns", {{"xs", xs[i]}});
    TANDEM_CHECK(xs[i].rank() >= 1 && xs[i].rank() == first.rank() &&
                     xs[i].shape().with(-1, 1) == first.shape().with(-1, 1) &&
                     xs[i].dtype() == first.dtype() && xs[i].device() == first.device(),
                 "concat_columns: xs[{}] is {}, xs[0] is {}; all but the last sizes must agree", i,
                 xs[i].summary(), first.summary());
    widths.push_back(xs[i].size(-1));
    wanted.push_back(needs_grad(xs[i]));
    total += widths.back();
  }

  const Tensor y(first.shape().with(-1, total), first.dtype(), first.device());
  for (int64_t begin = 0; const Tensor& x : xs) {
    TANDEM_DISPATCH(x.device(), copy_columns({y, begin}, {x, 0}, x.size(-1)));
    begin += x.size(-1);
  }
  return record("concat_columns", y, xs, [widths, wanted](const Tensor& dy) -> Grads {
    Grads dxs(widths.size());
    int64_t begin = 0;
    for (size_t i = 0; i < widths.size(); begin += widths[i++]) {
      if (!wanted[i]) continue;
      dxs[i] = Tensor(dy.shape().with(-1, widths[i]), dy.dtype(), dy.device());
      TANDEM_DISPATCH(dy.device(), copy_columns({dxs[i], 0}, {dy, begin}, widths[i]));
    }
    return dxs;
  });
}

Tensor stack(const std::vector<Tensor>& xs, int axis) {
  TANDEM_CHECK(!xs.empty(), "stack: xs is empty; give at least one tensor");
  check_defined("stack", {{"xs[0]", xs[0]}});
  const Tensor& first = xs[0];
  const int rank = first.rank() + 1, at = axis < 0 ? axis + rank : axis;
  TANDEM_CHECK(at >= 0 && at < rank && rank <= Shape::kMaxRank,
               "stack: axis {}, but the result for xs[0], {}, has axes {} to {}, and at most {} of them",
               axis, first.summary(), -rank, rank - 1, Shape::kMaxRank);
  std::vector<Tensor> rows;
  const int64_t outer = Shape(std::span(first.shape().begin(), static_cast<size_t>(at))).numel();
  const int64_t inner = Shape(std::span(first.shape().begin() + at, first.shape().end())).numel();
  for (size_t i = 0; i < xs.size(); ++i) {
    check_defined("stack", {{"xs", xs[i]}});
    if (at > 0) check_floating("stack", {{"xs", xs[i]}});
    TANDEM_CHECK(
        xs[i].shape() == first.shape() && xs[i].dtype() == first.dtype() && xs[i].device() == first.device(),
        "stack: xs[{}] is {}, xs[0] is {}; they must agree", i, xs[i].summary(), first.summary());
    rows.push_back(reshape(xs[i], {outer, inner}));
  }
  std::vector<int64_t> sizes(first.shape().begin(), first.shape().end());
  sizes.insert(sizes.begin() + at, static_cast<int64_t>(xs.size()));
  const Shape shape{std::span<const int64_t>(sizes)};
  return reshape(at == 0 ? concat(rows) : concat_columns(rows), shape);
}

}  // namespace tandem
