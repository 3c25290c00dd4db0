// Benchmark cases of attention with relative positions, without and with a memory.
#include "tandem/ops/relative_attention.h"
#include "tools/bench/operators.h"
#include "tools/bench/operators/attention_sizes.h"

namespace tandem {
BENCH_CASES(relative_attention, BenchPrecisions::every) {
  const int64_t T = bench.sizes.unroll, B = bench.sizes.batch_size, p = bench.sizes.d_projected;
  for (const int64_t M : {int64_t{0}, T}) {
    const Tensors inputs = {bench.activation({T, B, p}, 1), bench.activation({M + T, B, 2 * p}, 2),
                            bench.activation({M + T, p}, 3), bench.random({p}, 4), bench.random({p}, 5)};
    const auto run = [heads = bench.sizes.heads](const Tensors& x) {
      AttentionOptions options;
      options.heads = heads;
      return Tensors{relative_attention(x[0], x[1], x[2], x[3], x[4], options)};
    };
    // Products of the forward pass: scores by content, scores by position, and weighted values.
    bench.add(attention_case_name(bench.sizes, M), inputs, run,
              multiply_adds(3 * attention_product(bench.sizes, M)));
  }
}

}  // namespace tandem
