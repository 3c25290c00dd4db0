// Benchmark cases of the loss of distillation.
#include "tandem/ops/soft_cross_entropy.h"
#include "tools/bench/operators.h"

namespace tandem {

BENCH_CASES(soft_cross_entropy) {
  const BenchSizes& s = bench.sizes;
  const Tensor logits = bench.activation({s.unroll, s.batch_size, s.vocabulary}, 1, -3, 3);
  const Tensor teacher = bench.activation({s.unroll, s.batch_size, s.vocabulary}, 2, -3, 3);
  const Tensor targets = bench.ids({s.unroll, s.batch_size}, s.vocabulary, 3);
  const double e = bytes_of({logits}), ids = bytes_of({targets});
  // The forward pass leaves the gradient, so the backward pass has nothing to do.
  bench.add(
      logits.shape().str(), {logits, targets, teacher},
      [](const Tensors& in) {
        return Tensors{soft_cross_entropy(in[0], in[1], in[2], {.weight = 0.5, .temperature = 2}).loss};
      },
      bytes_moved(3 * e + ids, 0));
}

}  // namespace tandem
