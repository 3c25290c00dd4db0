// Benchmark cases of matmul: one product, and a batch with a transposed operand.
#include "tandem/ops/matmul.h"
#include "tandem/core/check.h"
#include "tools/bench/operators.h"

namespace tandem {
namespace {

void add_matmul(BenchCases& bench, Shape a, Shape b, MatmulOptions options) {
  const int64_t out = b[options.transpose_b ? -2 : -1];
  bench.add(
      fmt::format("{}{} {}{}", a.str(), options.transpose_a ? "'" : "", b.str(),
                  options.transpose_b ? "'" : ""),
      {bench.activation(a, 1), bench.activation(b, 2)},
      [options](const Tensors& x) { return Tensors{matmul(x[0], x[1], options)}; },
      multiply_adds(static_cast<double>(a.numel()) * static_cast<double>(out)));
}

}  // namespace

BENCH_CASES(matmul, BenchPrecisions::every) {
  const int64_t T = bench.sizes.unroll, B = bench.sizes.batch_size, p = bench.sizes.d_projected;
  add_matmul(bench, {T * B, p}, {p, bench.sizes.d}, {});
  add_matmul(bench, {B, T, p}, {B, 2 * T, p}, {.transpose_b = true});
}

}  // namespace tandem
