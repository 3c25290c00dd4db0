// Benchmark cases of functions of one input and a number.
#include <utility>

#include "tandem/core/check.h"
#include "tandem/ops/elementwise.h"
#include "tools/bench/operators.h"

namespace tandem {

BENCH_CASES(elementwise) {
  const std::pair<const char*, Elementwise> kinds[] = {
      {"x + a", Elementwise::add_number}, {"abs", Elementwise::abs}, {"softplus", Elementwise::softplus}};
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1, -3, 3);
  const double e = bytes_of({x});
  for (const auto& [name, kind] : kinds)
    bench.add(
        fmt::format("{} {}", name, x.shape().str()), {x},
        [which = kind](const Tensors& in) { return Tensors{elementwise(in[0], which, 0.5)}; },
        bytes_moved(2 * e, 3 * e));
}

}  // namespace tandem
