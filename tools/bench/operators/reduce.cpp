// Benchmark cases of sums and means.
#include "tandem/ops/reduce.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(reduce) {
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1, 0, 1);
  const PassWork work = bytes_moved(bytes_of({x}), bytes_of({x}));
  bench.add(
      "sum of all " + x.shape().str(), {x}, [](const Tensors& in) { return Tensors{sum(in[0])}; }, work);
  bench.add(
      "sum over axis 0 " + x.shape().str(), {x}, [](const Tensors& in) { return Tensors{sum(in[0], 0)}; },
      work);
  bench.add(
      "mean over axis -1 " + x.shape().str(), {x}, [](const Tensors& in) { return Tensors{mean(in[0], -1)}; },
      work);
}

}  // namespace tandem
