// Benchmark case of hardtanh.
#include "tandem/ops/hardtanh.h"

#include "tools/bench/operators.h"

namespace tandem {

BENCH_CASES(hardtanh) {
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1);
  bench.add(
      x.shape().str(), {x}, [](const Tensors& in) { return Tensors{hardtanh(in[0])}; },
      bytes_moved(2 * bytes_of({x}), 3 * bytes_of({x})));
}

}  // namespace tandem
