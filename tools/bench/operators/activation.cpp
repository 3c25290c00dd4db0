// Benchmark cases of activation functions.
#include <utility>

#include "tandem/core/check.h"
#include "tandem/ops/activation.h"
#include "tools/bench/operators.h"

namespace tandem {
BENCH_CASES(activation) {
  const std::pair<const char*, Activation> kinds[] = {{"gelu (erf)", Activation::gelu_erf},
                                                      {"gelu (tanh)", Activation::gelu_tanh},
                                                      {"relu", Activation::relu},
                                                      {"silu", Activation::silu},
                                                      {"tanh", Activation::tanh}};
  const Tensor x = bench.activation({bench.sizes.unroll, bench.sizes.batch_size, bench.sizes.d}, 1, -3, 3);
  const double e = bytes_of({x});
  for (const auto& [name, kind] : kinds)
    bench.add(
        fmt::format("{} {}", name, x.shape().str()), {x},
        [which = kind](const Tensors& in) { return Tensors{activation(in[0], which)}; },
        bytes_moved(2 * e, 3 * e));
}

}  // namespace tandem
