// Benchmark case of the embedding.
#include "tandem/ops/embedding.h"
#include "tandem/core/check.h"
#include "tandem/ops/support/weight_cache.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(embedding) {
  const BenchSizes& s = bench.sizes;
  const Tensor ids = bench.ids({s.unroll, s.batch_size}, s.vocabulary, 1);
  const Tensor table = bench.random({s.vocabulary, s.d}, 2);
  const size_t element = size_of(bench_activation_dtype(bench.precision));
  const double y = static_cast<double>(s.tokens() * s.d) * static_cast<double>(element);
  const double bytes = y + bytes_of({ids, table});
  bench.add(
      fmt::format("{} of {}", ids.shape().str(), table.shape().str()), {ids, table},
      [](const Tensors& in) { return Tensors{embedding(in[0], in[1], activation_dtype(in[1]))}; },
      bytes_moved(bytes, bytes));
}

}  // namespace tandem
