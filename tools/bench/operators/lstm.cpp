// Benchmark case of the LSTM.
#include <cmath>

#include "tandem/core/check.h"
#include "tandem/ops/lstm.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(lstm, BenchPrecisions::every) {
  const int64_t T = bench.sizes.unroll, B = bench.sizes.batch_size, d = bench.sizes.d;
  const double bound = 1 / std::sqrt(static_cast<double>(d));
  const Tensors inputs = {bench.activation({T, B, d}, 1), bench.random({4 * d, d}, 2, -bound, bound),
                          bench.random({4 * d, d}, 3, -bound, bound), bench.random({4 * d}, 4, -bound, bound),
                          bench.random({4 * d}, 5, -bound, bound)};
  bench.add(
      fmt::format("({}, {}, {})", T, B, d), inputs,
      [](const Tensors& x) {
        return Tensors{lstm(x[0], {x[1], x[2], x[3], x[4]}).h};
      },
      multiply_adds(static_cast<double>(T * B) * static_cast<double>(2 * d) * static_cast<double>(4 * d)));
}

}  // namespace tandem
