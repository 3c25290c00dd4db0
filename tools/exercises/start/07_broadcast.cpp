// Exercise 7, the gradient of broadcasting: every element of `column` acts on a whole row of y, and every element of
// `row` on a whole column.
//
// Write their gradients, which are zeros so far.
#include "tandem/autograd/tape.h"

using namespace tandem;

// Computes y[n][d] = x[n][d] * column[n] + row[d] for x (N, D), column (N) and row (D), all in f64.
Tensor scale_and_shift(const Tensor& x, const Tensor& column, const Tensor& row) {
  const int64_t rows = x.size(0), width = x.size(1);
  Tensor y = empty_like(x);
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t d = 0; d < width; ++d)
      y.data<double>()[n * width + d] =
          x.data<double>()[n * width + d] * column.data<double>()[n] + row.data<double>()[d];
  return record(
      "scale_and_shift", y, {x, column, row}, [x, column, row, rows, width](const Tensor& dy) -> Grads {
        Tensor dx = empty_like(x), dcolumn = zeros_like(column), drow = zeros_like(row);
        for (int64_t n = 0; n < rows; ++n)
          for (int64_t d = 0; d < width; ++d)
            dx.data<double>()[n * width + d] = dy.data<double>()[n * width + d] * column.data<double>()[n];
        return {dx, dcolumn, drow};
      });
}
