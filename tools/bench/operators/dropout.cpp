// Benchmark cases of dropout.
#include "tandem/ops/dropout.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(dropout) {
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1);
  const PassWork work = bytes_moved(2 * bytes_of({x}), 2 * bytes_of({x}));
  bench.add(
      "elementwise " + x.shape().str(), {x},
      [](const Tensors& in) {
        return Tensors{dropout(in[0], 0.1, DropoutKey{1, 2, 3})};
      },
      work);
  bench.add(
      "variational " + x.shape().str(), {x},
      [](const Tensors& in) {
        return Tensors{variational_dropout(in[0], 0.1, DropoutKey{1, 2, 3})};
      },
      work);
}

}  // namespace tandem
