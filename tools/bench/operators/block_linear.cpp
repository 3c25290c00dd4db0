// Benchmark case of the block-diagonal product: eight blocks.
#include "tandem/ops/block_linear.h"

#include <algorithm>

#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(block_linear, BenchPrecisions::every) {
  constexpr int64_t kBlocks = 8;
  const int64_t width = std::max<int64_t>(1, bench.sizes.d / kBlocks);
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, kBlocks * width}, 1);
  const Tensor w = bench.random({kBlocks, width, width}, 2);
  bench.add(
      x.shape().str() + " by " + w.shape().str(), {x, w},
      [](const Tensors& in) { return Tensors{block_linear(in[0], in[1])}; },
      multiply_adds(static_cast<double>(x.numel() * width)));
}

}  // namespace tandem
