// Benchmark cases of where, and of the comparison that it chooses by.
#include "tandem/ops/compare.h"

#include "tools/bench/operators.h"

namespace tandem {

BENCH_CASES(compare) {
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1);
  const double e = bytes_of({x});
  bench.add(
      "where(x > 0, x, 0) " + x.shape().str(), {x},
      [](const Tensors& in) { return Tensors{where(greater(in[0], 0), in[0], 0)}; },
      bytes_moved(5 * e, 3 * e));
}

}  // namespace tandem
