// concat: forward copies; backward hands out views of the rows of dy, or copies its columns.
#include "tandem/ops/concat.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"

namespace tandem {

Tensor concat(const std::vector<Tensor>& xs) {
  std::vector<Tensor> inputs;
  std::vector<int64_t> rows;
  int64_t total = 0;
  for (const Tensor& x : xs) {
    if (!x.defined()) continue;
    TANDEM_CHECK(x.rank() >= 1, "concat: input {} is {}, which has no axis to join along", inputs.size(),
                 x.str());
    inputs.push_back(x);
    rows.push_back(x.size(0));
    total += x.size(0);
  }
  TANDEM_CHECK(!inputs.empty(), "concat: none of the {} tensors is defined", xs.size());
  const Tensor& first = inputs[0];
  for (size_t i = 1; i < inputs.size(); ++i)
    TANDEM_CHECK(inputs[i].shape().tail() == first.shape().tail() && inputs[i].dtype() == first.dtype() &&
                     inputs[i].device() == first.device(),
                 "concat: input {} is {}, input 0 is {}; all but the leading sizes must agree", i,
                 inputs[i].str(), first.str());

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
  TANDEM_CHECK(!xs.empty(), "concat_columns: no tensor is given");
  const Tensor& first = xs[0];
  std::vector<int64_t> widths;
  std::vector<bool> wanted;
  int64_t total = 0;
  for (size_t i = 0; i < xs.size(); ++i) {
    TANDEM_CHECK(xs[i].rank() >= 1 && xs[i].rank() == first.rank() &&
                     xs[i].shape().with(-1, 1) == first.shape().with(-1, 1) &&
                     xs[i].dtype() == first.dtype() && xs[i].device() == first.device(),
                 "concat_columns: input {} is {}, input 0 is {}; all but the last sizes must agree", i,
                 xs[i].str(), first.str());
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

}  // namespace tandem
