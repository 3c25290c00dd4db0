// Benchmark cases of the SRU recurrence, with the skip connection apart or in u.
#include "tandem/ops/sru_scan.h"
#include "tandem/core/check.h"
#include "tandem/core/streaming.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {
BENCH_CASES(sru_scan, BenchPrecisions::every) {
  const int64_t T = bench.sizes.unroll, B = bench.sizes.batch_size, d = bench.sizes.d;
  const bool bf16 = bench.precision == MatmulPrecision::bf16;
  const Tensor x = bench.activation({T, B, d}, 1), c0 = bench.random({B, d}, 2);
  const Tensor weight = bench.random({2 * d}, 3), bias = bench.random({2 * d}, 4);
  const double e = bytes_of({x});
  // A large scan on a CPU keeps hardly any states.
  const double states = bench_device().is_cpu() && worth_streaming(x.nbytes()) ? 0 : e;
  for (const int64_t planes : {3, 4}) {
    const bool skip_in_u = planes == 4;
    if (bf16 && bench_device().is_cpu() && skip_in_u) continue;  // there u alone is in bf16, and x in f32
    Tensor u = bench.activation({T, B, planes * d}, 5);
    if (bf16) u = u.to(DType::bf16);
    const double plane = bytes_of({u}) / static_cast<double>(planes);
    // The forward pass reads the planes and x, and writes h and c; the backward pass reads these and dh, and
    // writes as many planes.
    bench.add(
        fmt::format("{} planes ({}, {}, {})", planes, T, B, d),
        skip_in_u ? Tensors{u, weight, bias, c0} : Tensors{u, weight, bias, c0, x},
        [](const Tensors& in) {
          const SruScanResult y = sru_scan(in[0], in.size() > 4 ? in[4] : Tensor(), in[1], in[2], in[3]);
          return Tensors{y.h, y.c_last};
        },
        bytes_moved(3 * plane + 2 * e + states, 6 * plane + 3 * e + states));
  }
}

}  // namespace tandem
