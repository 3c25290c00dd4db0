// Benchmark cases of transpose: matrices, and time with batch.
#include "tandem/ops/transpose.h"

#include "tools/bench/operators.h"

namespace tandem {

BENCH_CASES(transpose) {
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1);
  const double e = bytes_of({x});
  bench.add(
      "axes 1 and 2 " + x.shape().str(), {x}, [](const Tensors& in) { return Tensors{transpose(in[0])}; },
      bytes_moved(2 * e, 2 * e));
  bench.add(
      "axes 0 and 1 " + x.shape().str(), {x},
      [](const Tensors& in) { return Tensors{transpose(in[0], 0, 1)}; }, bytes_moved(2 * e, 2 * e));
}

}  // namespace tandem
