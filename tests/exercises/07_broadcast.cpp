// A right answer to exercise 7.
#include "tandem/autograd/tape.h"

using namespace tandem;

Tensor scale_and_shift(const Tensor& x, const Tensor& column, const Tensor& row) {
  const int64_t rows = x.size(0), width = x.size(1);
  Tensor y = empty_like(x);
  for (int64_t n = 0; n < rows; ++n)
    for (int64_t d = 0; d < width; ++d)
      y.data<double>()[n * width + d] =
          x.data<double>()[n * width + d] * column.data<double>()[n] + row.data<double>()[d];
  return record("scale_and_shift", y, {x, column, row},
                [x, column, row, rows, width](const Tensor& dy) -> Grads {
                  Tensor dx = empty_like(x), dcolumn = zeros_like(column), drow = zeros_like(row);
                  for (int64_t n = 0; n < rows; ++n)
                    for (int64_t d = 0; d < width; ++d) {
                      const int64_t i = n * width + d;
                      const double up = dy.data<double>()[i];
                      dx.data<double>()[i] = up * column.data<double>()[n];
                      dcolumn.data<double>()[n] += up * x.data<double>()[i];
                      drow.data<double>()[d] += up;
                    }
                  return {dx, dcolumn, drow};
                });
}
