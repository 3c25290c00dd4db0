// Benchmark case of chunk_sum.
#include "tandem/ops/chunk_sum.h"
#include "tandem/core/check.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(chunk_sum) {
  const int64_t d = bench.sizes.d;
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, 4 * d}, 1);
  const double bytes = 1.25 * bytes_of({x});
  bench.add(
      fmt::format("{} to {}", x.shape().str(), d), {x},
      [d](const Tensors& in) { return Tensors{chunk_sum(in[0], d)}; }, bytes_moved(bytes, bytes));
}

}  // namespace tandem
