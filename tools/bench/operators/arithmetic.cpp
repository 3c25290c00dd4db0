// Benchmark cases of sums, products and scaling.
#include "tandem/ops/arithmetic.h"
#include "tandem/core/check.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(arithmetic) {
  const int64_t d = bench.sizes.d;
  const Shape shape{bench.sizes.unroll, bench.sizes.batch_size, d};
  const Tensor a = bench.activation(shape, 1), b = bench.activation(shape, 2),
               bias = bench.activation({d}, 3);
  const double e = bytes_of({a});
  // The gradient of a sum is the one that arrives, so there is nothing to move; a leaf, as here, copies it.
  bench.add(
      "add " + shape.str(), {a, b}, [](const Tensors& in) { return Tensors{in[0] + in[1]}; },
      bytes_moved(3 * e, 0));
  bench.add(
      fmt::format("add {} + ({})", shape.str(), d), {a, bias},
      [](const Tensors& in) { return Tensors{in[0] + in[1]}; }, bytes_moved(2 * e, e));
  bench.add(
      "mul " + shape.str(), {a, b}, [](const Tensors& in) { return Tensors{in[0] * in[1]}; },
      bytes_moved(3 * e, 5 * e));
  bench.add(
      fmt::format("mul {} * ({})", shape.str(), d), {a, bias},
      [](const Tensors& in) { return Tensors{in[0] * in[1]}; }, bytes_moved(2 * e, 3 * e));
  bench.add(
      "scale " + shape.str(), {a}, [](const Tensors& in) { return Tensors{scale(in[0], 0.5)}; },
      bytes_moved(2 * e, 2 * e));
}

}  // namespace tandem
