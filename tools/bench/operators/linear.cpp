// Benchmark cases of linear layers: those of SRU++, and the logits.
#include <cmath>
#include <utility>

#include "tandem/core/check.h"
#include "tandem/ops/linear.h"
#include "tools/bench/operators.h"

namespace tandem {
namespace {

void add_linear(BenchCases& bench, const char* which, int64_t time, int64_t in, int64_t out, bool bias) {
  const int64_t batch = bench.sizes.batch_size;
  const double bound = std::sqrt(6.0 / static_cast<double>(in + out));
  Tensors inputs = {bench.activation({time, batch, in}, 1), bench.random({out, in}, 2, -bound, bound)};
  if (bias) inputs.push_back(bench.random({out}, 3));
  bench.add(
      fmt::format("{}: ({}, {}, {}) to {}{}", which, time, batch, in, out, bias ? ", bias" : ""),
      std::move(inputs),
      [](const Tensors& x) { return Tensors{linear(x[0], x[1], x.size() > 2 ? x[2] : Tensor())}; },
      multiply_adds(static_cast<double>(time * batch * in) * static_cast<double>(out)));
}

}  // namespace

BENCH_CASES(linear, BenchPrecisions::every) {
  const int64_t T = bench.sizes.unroll, d = bench.sizes.d, p = bench.sizes.d_projected;
  add_linear(bench, "W_q", T, d, p, false);
  add_linear(bench, "W_kv, memory too", 2 * T, p, 2 * p, false);
  add_linear(bench, "W_o", T, p, 3 * d, false);
  add_linear(bench, "logits", T, d, bench.sizes.vocabulary, true);
}

}  // namespace tandem
