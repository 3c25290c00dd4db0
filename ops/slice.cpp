// slice and split: the views, and the gradients that are put together from theirs.
#include "tandem/ops/slice.h"

#include <fmt/format.h>

#include <numeric>

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"

namespace tandem {

// y = x[begin:end]:  dx[begin:end] = dy, and 0 elsewhere.
Tensor slice(const Tensor& x, int64_t begin, int64_t end) {
  TANDEM_CHECK(x.rank() >= 1, "slice: {} has no axis to cut", x.str());
  TANDEM_CHECK(begin >= 0 && begin <= end && end <= x.size(0),
               "slice: rows {} to {} of {} do not exist; it has 0 to {}", begin, end, x.shape().str(),
               x.size(0));
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

std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& rows) {
  TANDEM_CHECK(x.rank() >= 1, "split: {} has no axis to cut", x.str());
  int64_t total = 0;
  for (const int64_t count : rows) {
    TANDEM_CHECK(count >= 0, "split: negative number of rows in ({})", fmt::join(rows, ", "));
    total += count;
  }
  TANDEM_CHECK(total == x.size(0), "split: ({}) is {} rows, but {} has {}", fmt::join(rows, ", "), total,
               x.shape().str(), x.size(0));
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
      const Tensor part = dx.view_rows(begin, begin + rows[i]);
      if (dys[i].defined())
        copy(part, dys[i]);
      else
        fill(part, 0);
      begin += rows[i];
    }
    return {dx};
  });
}

}  // namespace tandem
