// Benchmark cases of causal attention, without and with a memory.
#include "tandem/ops/attention.h"
#include "tools/bench/operators.h"
#include "tools/bench/operators/attention_sizes.h"

namespace tandem {
BENCH_CASES(attention, BenchPrecisions::every) {
  const int64_t T = bench.sizes.unroll, B = bench.sizes.batch_size, p = bench.sizes.d_projected;
  for (const int64_t M : {int64_t{0}, T}) {
    const Tensors inputs = {bench.activation({T, B, p}, 1), bench.activation({M + T, B, 2 * p}, 2)};
    const auto run = [heads = bench.sizes.heads](const Tensors& x) {
      AttentionOptions options;
      options.heads = heads;
      return Tensors{causal_attention(x[0], x[1], options)};
    };
    // Products of the forward pass: scores, and weighted values.
    bench.add(attention_case_name(bench.sizes, M), inputs, run,
              multiply_adds(2 * attention_product(bench.sizes, M)));
  }
}

}  // namespace tandem
