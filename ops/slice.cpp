// slice and split: the views, and the gradients that are put together from theirs.
#include "tandem/ops/slice.h"

#include <fmt/format.h>

#include <algorithm>

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/ops/concat.h"
#include "tandem/ops/support/axis_split.h"

namespace tandem {

// y = x[begin:end]:  dx[begin:end] = dy, and 0 elsewhere.
Tensor slice(const Tensor& x, int64_t begin, int64_t end) {
  check_defined("slice", {{"x", x}});
  TANDEM_CHECK(x.rank() >= 1, "slice: x is {}, which has no axis to cut", x.summary());
  TANDEM_CHECK(begin >= 0 && begin <= end && end <= x.size(0),
               "slice: x is {}; rows {} to {} of it do not exist, it has 0 to {}", x.shape().str(), begin,
               end, x.size(0));
  // The gradient of a leaf is added to in place, so the leaf is captured; of a result the shape suffices.
  const bool leaf = needs_grad(x) && x.node()->is_leaf();
  const Tensor target = leaf ? x : Tensor();
  const Shape shape = x.shape();
  return record(
      "slice", x.view_rows(begin, end), {x}, [target, shape, begin, end](const Tensor& dy) -> Grads {
        const GradTarget dx =
            target.defined() ? grad_target(target) : GradTarget{Tensor(shape, dy.dtype(), dy.device())};
        if (dx.accumulate) {
          add_in_place(dx.grad.view_rows(begin, end), dy);
        } else {
          fill(dx.grad.view_rows(0, begin), 0);
          copy(dx.grad.view_rows(begin, end), dy);
          fill(dx.grad.view_rows(end, shape[0]), 0);
        }
        return {dx.grad};
      });
}

namespace {

// A split along an axis other than the leading one, as columns of x (outer, count inner).
struct ColumnSplit {
  Shape shape;  // of x
  std::vector<int64_t> sizes;
  int axis;
  AxisSplit at = split_at(shape, axis);

  Tensor columns_of(const Tensor& x, int64_t count) const { return x.view_as({at.outer, count * at.inner}); }
  Tensor piece(const Tensor& like, size_t i) const {
    return Tensor(shape.with(axis, sizes[i]), like.dtype(), like.device());
  }
};

void copy_piece(const Columns& to, const Columns& from, int64_t columns) {
  TANDEM_DISPATCH(to.x.device(), copy_columns(to, from, columns));
}

std::vector<Tensor> split_columns(const Tensor& x, const ColumnSplit& split) {
  std::vector<Tensor> ys;
  int64_t begin = 0;
  for (size_t i = 0; i < split.sizes.size(); ++i) {
    const int64_t columns = split.sizes[i] * split.at.inner;
    ys.push_back(split.piece(x, i));
    copy_piece({split.columns_of(ys[i], split.sizes[i])}, {split.columns_of(x, split.at.count), begin},
               columns);
    begin += columns;
  }
  return record("split", ys, {x}, [split](const Grads& dys) -> Grads {
    const auto used = std::find_if(dys.begin(), dys.end(), [](const Tensor& dy) { return dy.defined(); });
    const Tensor dx(split.shape, used->dtype(), used->device());
    if (!std::all_of(dys.begin(), dys.end(), [](const Tensor& dy) { return dy.defined(); })) fill(dx, 0);
    int64_t begin = 0;
    for (size_t i = 0; i < dys.size(); ++i) {
      const int64_t columns = split.sizes[i] * split.at.inner;
      if (dys[i].defined())
        copy_piece({split.columns_of(dx, split.at.count), begin}, {split.columns_of(dys[i], split.sizes[i])},
                   columns);
      begin += columns;
    }
    return {dx};
  });
}

std::vector<Tensor> split_rows(const Tensor& x, const std::vector<int64_t>& rows) {
  std::vector<Tensor> ys;
  for (int64_t begin = 0; const int64_t count : rows) {
    ys.push_back(x.view_rows(begin, begin + count));
    begin += count;
  }
  const Shape shape = x.shape();
  const DType dtype = x.dtype();
  const Device device = x.device();
  return record("split", ys, {x}, [shape, dtype, device, rows](const Grads& dys) -> Grads {
    const Tensor dx(shape, dtype, device);
    int64_t begin = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      copy_or_zeros(dx.view_rows(begin, begin + rows[i]), dys[i]);
      begin += rows[i];
    }
    return {dx};
  });
}

}  // namespace

std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int axis) {
  const int at = check_axis("split", {"x", x}, axis);
  int64_t total = 0;
  for (const int64_t size : sizes) {
    TANDEM_CHECK(size >= 0 && size <= x.size(at),
                 "split: sizes ({}): {} is negative or more than axis {} of x, {}, has",
                 fmt::join(sizes, ", "), size, axis, x.shape().str());
    total += size;
  }
  TANDEM_CHECK(total == x.size(at), "split: sizes ({}) add up to {}, but axis {} of x, {}, has {}",
               fmt::join(sizes, ", "), total, axis, x.shape().str(), x.size(at));
  if (at == 0) return split_rows(x, sizes);
  check_floating("split", {{"x", x}});
  return split_columns(x, {x.shape(), sizes, at});
}

}  // namespace tandem
