// Benchmark cases of the causal convolution, short and long.
#include "tandem/ops/causal_conv.h"
#include "tandem/core/check.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(causal_conv) {
  const int64_t d = bench.sizes.d;
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, d}, 1);
  const double e = bytes_of({x});
  for (const int64_t taps : {3, 11})
    bench.add(
        fmt::format("{} taps {}", taps, x.shape().str()), {x, bench.random({d, taps}, 2)},
        [](const Tensors& in) { return Tensors{causal_conv(in[0], in[1])}; }, bytes_moved(2 * e, 3 * e));
}

}  // namespace tandem
