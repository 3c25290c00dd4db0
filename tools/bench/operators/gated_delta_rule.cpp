// Benchmark case of the gated delta rule: heads of 64 keys and values.
#include "tandem/ops/gated_delta_rule.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/check.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(gated_delta_rule) {
  const int64_t T = bench.sizes.unroll, B = bench.sizes.batch_size,
                width = std::min<int64_t>(64, bench.sizes.d),
                heads = std::max<int64_t>(1, bench.sizes.d / width);
  const double side = std::sqrt(2.0 / static_cast<double>(width));
  const Tensor q = bench.activation({T, B, heads * width}, 1),
               k = bench.activation({T, B, heads * width}, 2, -side, side),
               v = bench.activation({T, B, heads * width}, 3),
               decay = bench.random({T, B, heads}, 4, -0.3, 0), beta = bench.random({T, B, heads}, 5, 0, 1);
  // For each step of a head: two products with the state and one into it, and within a chunk k k^T, q k^T, the
  // system and P X, the half of each.
  const double per_step = static_cast<double>(width) * static_cast<double>(3 * width + 2 * kDeltaChunk);
  bench.add(
      fmt::format("({}, {}, {} x {})", T, B, heads, width), {q, k, v, decay, beta},
      [](const Tensors& in) {
        const GatedDeltaResult y = gated_delta_rule(in[0], in[1], in[2], in[3], in[4]);
        return Tensors{y.o, y.state};
      },
      multiply_adds(per_step * static_cast<double>(T * B * heads)));
}

}  // namespace tandem
