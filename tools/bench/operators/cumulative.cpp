// Benchmark cases of running sums, along time and along rows.
#include "tandem/ops/cumulative.h"

#include "tandem/core/check.h"
#include "tools/bench/operators.h"

namespace tandem {

BENCH_CASES(cumulative) {
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1);
  const double e = bytes_of({x});
  for (const int axis : {0, 2})
    bench.add(
        fmt::format("cumsum along axis {} {}", axis, x.shape().str()), {x},
        [axis](const Tensors& in) { return Tensors{cumsum(in[0], axis)}; }, bytes_moved(2 * e, 2 * e));
  const double wide =
      x.dtype() == DType::f64 ? 0 : static_cast<double>(x.numel() * 8);  // the sums, kept in f64
  for (const int axis : {0, 2})
    bench.add(
        fmt::format("logcumsumexp along axis {} {}", axis, x.shape().str()), {x},
        [axis](const Tensors& in) { return Tensors{logcumsumexp(in[0], axis)}; },
        bytes_moved(2 * e + wide, 3 * e + wide));
}

}  // namespace tandem
