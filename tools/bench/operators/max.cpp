// Benchmark cases of max, over rows and over time.
#include "tandem/ops/max.h"

#include "tandem/core/check.h"
#include "tools/bench/operators.h"

namespace tandem {

BENCH_CASES(max) {
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1);
  const double e = bytes_of({x});
  for (const int axis : {0, 2})
    bench.add(
        fmt::format("axis {} {}", axis, x.shape().str()), {x},
        [axis](const Tensors& in) { return Tensors{max(in[0], axis)}; }, bytes_moved(e, e));
}

}  // namespace tandem
