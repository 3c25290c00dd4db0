// Checks exercise 3: rows that are taken once, several times, and never.
#include "tools/exercises/check/exercise.h"

using namespace exercises;

Tensor gather(const Tensor& table, const std::vector<int64_t>& ids);

EXERCISE(03) {
  const Tensor table = leaf({4, 3}, 1);
  const auto f = [](const std::vector<int64_t>& ids) -> Function {
    return [ids](const std::vector<Tensor>& in) { return gather(in[0], ids); };
  };
  const Tensor y = gather(table, {2, 2, 0});
  expect(is_close(y.data<double>()[5], table.data<double>()[8]),
         "the forward pass was right and is not any more");
  expect_gradients(f({3, 0, 2}), {table}, {"the table, for rows that are taken at most once,"});
  const Function twice = f({1, 3, 1, 1});
  const Tensor found = gradients(twice, {table})[0], wanted = differences(twice, {table})[0];
  for (int64_t d = 0; d < 3; ++d)
    expect(std::abs(found.data<double>()[3 + d] - wanted.data<double>()[3 + d]) < 1e-6,
           "row 1 was taken three times, and its gradient is " + text_of(found.data<double>()[3 + d]) +
               " instead of " + text_of(wanted.data<double>()[3 + d]) +
               ": the loss depends on it in three ways");
  expect_gradients(twice, {table}, {"the table"});
}
