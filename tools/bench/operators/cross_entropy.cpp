// Benchmark cases of the cross-entropy loss.
#include <utility>

#include "tandem/ops/cross_entropy.h"
#include "tools/bench/operators.h"

namespace tandem {
namespace {

// Copies the logits, so that they are not leaves: the loss may then overwrite them.
Tensors copied_logits(const Tensors& in) {
  return {in[0].clone(), in[1]};
}

}  // namespace

BENCH_CASES(cross_entropy) {
  const BenchSizes& s = bench.sizes;
  const Tensor logits = bench.activation({s.unroll, s.batch_size, s.vocabulary}, 1, -3, 3);
  const Tensor targets = bench.ids({s.unroll, s.batch_size}, s.vocabulary, 2);
  const double e = bytes_of({logits}), ids = bytes_of({targets});
  bench.add(
      "apart " + logits.shape().str(), {logits, targets},
      [](const Tensors& in) { return Tensors{cross_entropy(in[0], in[1])}; },
      bytes_moved(e + ids, 2 * e + ids));
  // The forward pass leaves the gradient in place of the logits, so the backward pass has nothing to do.
  TapeCase in_place;
  in_place.name = "in place " + logits.shape().str();
  in_place.inputs = {logits, targets};
  in_place.prepare = copied_logits;
  in_place.run = [](const Tensors& in) { return Tensors{cross_entropy_in_place(in[0], in[1])}; };
  in_place.forward.bytes = 2 * e + ids;
  bench.add(std::move(in_place));
}

}  // namespace tandem
