// Checks exercise 7: values, and the gradients of all three inputs, for a square x and for others.
#include "tools/exercises/check/exercise.h"

using namespace exercises;

Tensor scale_and_shift(const Tensor& x, const Tensor& column, const Tensor& row);

EXERCISE(07) {
  const Function f = [](const std::vector<Tensor>& in) { return scale_and_shift(in[0], in[1], in[2]); };
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{3, 4}, {4, 2}, {3, 3}, {1, 5}, {5, 1}}) {
    const Tensor x = leaf({rows, width}, 1), column = leaf({rows}, 2), row = leaf({width}, 3);
    const Tensor y = scale_and_shift(x, column, row);
    const int64_t last = rows * width - 1;
    expect(is_close(y.data<double>()[last],
                    x.data<double>()[last] * column.data<double>()[rows - 1] + row.data<double>()[width - 1]),
           "the forward pass was right and is not any more");
    const std::string size = " for an x of " + std::to_string(rows) + " by " + std::to_string(width);
    expect_gradients(f, {x, column, row}, {"x" + size, "column" + size, "row" + size});
  }
}
