// Benchmark case of the norm by root mean square.
#include "tandem/ops/rms_norm.h"

#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(rms_norm) {
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1);
  const Tensor gain = bench.random({bench.sizes.d}, 2, 0.5, 1.5);
  const double e = bytes_of({x});
  bench.add(
      x.shape().str(), {x, gain}, [](const Tensors& in) { return Tensors{rms_norm(in[0], in[1])}; },
      bytes_moved(2 * e, 3 * e));
}

}  // namespace tandem
