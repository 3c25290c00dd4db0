// Benchmark cases of softmax, over whole rows and masked.
#include "tandem/ops/softmax.h"
#include "tandem/core/check.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(softmax) {
  const int64_t T = bench.sizes.unroll;
  const Tensor x = bench.activation({bench.sizes.batch_size, T, 2 * T}, 1, -3, 3);
  const double e = bytes_of({x});
  bench.add(
      "all " + x.shape().str(), {x}, [](const Tensors& in) { return Tensors{softmax(in[0])}; },
      bytes_moved(2 * e, 3 * e));
  bench.add(
      "logarithm " + x.shape().str(), {x}, [](const Tensors& in) { return Tensors{log_softmax(in[0])}; },
      bytes_moved(2 * e, 3 * e));
  // Masked elements are written, as zeros, and never read.
  const double visible =
      e * (static_cast<double>(T) + static_cast<double>(T + 1) / 2) / static_cast<double>(2 * T);
  bench.add(
      fmt::format("masked, memory {} {}", T, x.shape().str()), {x},
      [T](const Tensors& in) { return Tensors{masked_softmax(in[0], {.memory = T})}; },
      bytes_moved(visible + e, 2 * visible + e));
}

}  // namespace tandem
