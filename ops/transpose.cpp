// transpose on the CPU, in blocks of columns, so that whole cache lines are read and written.
#include "tandem/ops/transpose.h"

#include <algorithm>
#include <utility>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace {

constexpr int64_t kBlock = 16;  // columns of x that become rows of y together

template <class T>
void transpose_all(T* y, const T* x, TransposeSplit s) {
  const int64_t blocks = (s.second + kBlock - 1) / kBlock;
  const auto task = [y, x, s, blocks](int64_t index, int64_t) {
    const int64_t outer = index / blocks, begin = index % blocks * kBlock;
    const int64_t end = std::min(s.second, begin + kBlock);
    for (int64_t m = 0; m < s.middle; ++m)
      for (int64_t i = 0; i < s.first; ++i) {
        const T* const from = x + ((outer * s.first + i) * s.middle + m) * s.second * s.inner;
        for (int64_t j = begin; j < end; ++j)
          std::copy_n(from + j * s.inner, s.inner,
                      y + (((outer * s.second + j) * s.middle + m) * s.first + i) * s.inner);
      }
  };
  cpu::for_blocks(s.outer * blocks, 1, s.middle * s.first * kBlock * s.inner, task);
}

Tensor transposed(const Tensor& x, const Shape& shape, TransposeSplit split) {
  const Tensor y(shape, x.dtype(), x.device());
  TANDEM_DISPATCH(x.device(), transpose(y, x, split));
  return y;
}

}  // namespace

namespace cpu {

void transpose(const Tensor& y, const Tensor& x, TransposeSplit split) {
  dispatch_dtype(x.dtype(), [&]<class T>() { transpose_all(y.data<T>(), x.data<T>(), split); });
}

}  // namespace cpu

// y = x^T:  dx = dy^T.
Tensor transpose(const Tensor& x, int axis_a, int axis_b) {
  int first = check_axis("transpose", {"x", x}, axis_a), second = check_axis("transpose", {"x", x}, axis_b);
  if (first > second) std::swap(first, second);
  const Shape& shape = x.shape();
  TransposeSplit split{1, shape[first], 1, shape[second], 1};
  for (int i = 0; i < shape.rank(); ++i)
    if (i != first && i != second)
      (i < first ? split.outer : i < second ? split.middle : split.inner) *= shape[i];
  if (first == second) split.second = 1;  // nothing is exchanged
  const Shape result = shape.with(first, shape[second]).with(second, shape[first]);
  return record("transpose", transposed(x, result, split), {x}, [shape, split](const Tensor& dy) -> Grads {
    const TransposeSplit back{split.outer, split.second, split.middle, split.first, split.inner};
    return {transposed(dy, shape, back)};
  });
}

}  // namespace tandem
