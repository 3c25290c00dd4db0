// Exercise 3, a missing sum: gather() works as long as no row is taken twice.
//
// What does the chain rule say about a row that the loss depends on in two ways?
#include <vector>

#include "tandem/autograd/tape.h"

using namespace tandem;

// Returns the rows ids[0], ids[1], ... of a table (V, D), f64, as (number of ids, D).
Tensor gather(const Tensor& table, const std::vector<int64_t>& ids) {
  const int64_t width = table.size(1), count = static_cast<int64_t>(ids.size());
  Tensor y({count, width}, DType::f64);
  for (int64_t n = 0; n < count; ++n)
    for (int64_t d = 0; d < width; ++d)
      y.data<double>()[n * width + d] = table.data<double>()[ids[static_cast<size_t>(n)] * width + d];
  return record("gather", y, {table}, [table, ids, width, count](const Tensor& dy) -> Grads {
    Tensor dtable = zeros_like(table);
    for (int64_t n = 0; n < count; ++n)
      for (int64_t d = 0; d < width; ++d)
        dtable.data<double>()[ids[static_cast<size_t>(n)] * width + d] = dy.data<double>()[n * width + d];
    return {dtable};
  });
}
