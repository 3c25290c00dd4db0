// Benchmark cases of layer norm, alone and with a residual.
#include "tandem/ops/layer_norm.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {
BENCH_CASES(layer_norm) {
  const int64_t p = bench.sizes.d_projected;
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, p}, 1);
  const Tensor a = bench.activation(x.shape(), 2);
  const Tensor gain = bench.random({p}, 3, 0.5, 1.5), bias = bench.random({p}, 4);
  const Tensor alpha = full({1}, 0.7, DType::f32, bench_device());
  const double e = bytes_of({x});
  bench.add(
      "alone " + x.shape().str(), {x, gain, bias},
      [](const Tensors& in) { return Tensors{layer_norm(in[0], in[1], in[2])}; }, bytes_moved(2 * e, 3 * e));
  bench.add(
      "with residual " + x.shape().str(), {x, a, alpha, gain, bias},
      [](const Tensors& in) { return Tensors{residual_layer_norm(in[0], in[1], in[2], in[3], in[4])}; },
      bytes_moved(3 * e, 5 * e));
}

}  // namespace tandem
