// Benchmark cases of the QRNN recurrence, by pooling.
#include <utility>

#include "tandem/core/check.h"
#include "tandem/ops/qrnn_scan.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(qrnn_scan) {
  const int64_t T = bench.sizes.unroll, B = bench.sizes.batch_size, d = bench.sizes.d;
  const std::pair<const char*, QrnnPooling> poolings[] = {
      {"f", QrnnPooling::f}, {"fo", QrnnPooling::fo}, {"ifo", QrnnPooling::ifo}};
  for (const auto& [name, pooling] : poolings) {
    const int planes = qrnn_planes(pooling);
    const Tensor u = bench.activation({T, B, planes * d}, 1);
    const double e = bytes_of({u}) / planes,
                 states = pooling == QrnnPooling::f ? 0 : e;  // with f-pooling h is c
    // The forward pass reads the planes and writes h and c; the backward pass reads the planes, c and dh, and
    // writes as many planes.
    bench.add(
        fmt::format("{} ({}, {}, {})", name, T, B, d), {u, bench.random({B, d}, 2)},
        [kind = pooling](const Tensors& in) {
          const QrnnScanResult y = qrnn_scan(in[0], in[1], {.pooling = kind});
          return Tensors{y.h, y.c_last};
        },
        bytes_moved(planes * e + e + states, 2 * planes * e + 2 * e));
  }
}

}  // namespace tandem
