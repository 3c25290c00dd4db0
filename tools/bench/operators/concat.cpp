// Benchmark cases of concat and concat_columns.
#include "tandem/ops/concat.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(concat) {
  const Shape shape{bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d_projected};
  const Tensor a = bench.activation(shape, 1), b = bench.activation(shape, 2);
  const double e = bytes_of({a});
  // The gradients of concat are views, so its backward pass moves nothing.
  bench.add(
      "two of " + shape.str(), {a, b}, [](const Tensors& in) { return Tensors{concat(in)}; },
      bytes_moved(4 * e, 0));
  bench.add(
      "columns, two of " + shape.str(), {a, b}, [](const Tensors& in) { return Tensors{concat_columns(in)}; },
      bytes_moved(4 * e, 4 * e));
}

}  // namespace tandem
