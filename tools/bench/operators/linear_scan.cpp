// Benchmark cases of the linear recurrence, by the form of its coefficients.
#include "tandem/ops/linear_scan.h"

#include "tandem/core/check.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(linear_scan) {
  const int64_t T = bench.sizes.unroll, B = bench.sizes.batch_size, d = bench.sizes.d;
  struct Case {
    const char* name;
    ScanForm form;
    double low, high;  // range of p
  };
  for (const Case& c :
       {Case{"coefficients", ScanForm::coefficients, 0, 1}, Case{"min_gru", ScanForm::min_gru, -3, 3},
        Case{"rg_lru", ScanForm::rg_lru, -0.5, -0.01}}) {
    const Tensor p = bench.activation({T, B, d}, 1, c.low, c.high), q = bench.activation({T, B, d}, 2);
    const double e = bytes_of({p});
    // The forward pass reads p and q and writes h; the backward pass reads p, q, h and dh and writes dp and dq.
    bench.add(
        fmt::format("{} ({}, {}, {})", c.name, T, B, d), {p, q, bench.random({B, d}, 3)},
        [form = c.form](const Tensors& in) {
          const LinearScanResult y = linear_scan(in[0], in[1], in[2], form);
          return Tensors{y.h, y.h_last};
        },
        bytes_moved(3 * e, 6 * e));
  }
}

}  // namespace tandem
