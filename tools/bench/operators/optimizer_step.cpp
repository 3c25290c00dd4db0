// Benchmark case of the optimizer: gradient norm, clipping and update of all parameters of a model.
#include <algorithm>
#include <memory>

#include "tandem/core/check.h"
#include "tandem/models/registry.h"
#include "tools/bench/operators.h"
#include "tools/bench/updates.h"

namespace tandem {
namespace {

double error_against_f64(const std::vector<NamedTensor>& parameters, MatmulPrecision precision) {
  // RAdam's first five updates are of another kind. The rate is high enough to move parameters visibly.
  constexpr int kSteps = 7;
  constexpr double kRate = 0.1;
  Updates actual(parameters, "radam", DType::f32, precision, kRate),
      expected(parameters, "radam", DType::f64, MatmulPrecision::f32, kRate);
  for (int i = 0; i < kSteps; ++i) actual.step(), expected.step();
  const std::vector<Tensor> a = actual.results(), e = expected.results();
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::max(worst, relative_difference(a[i], e[i]));
  return worst;
}

}  // namespace

BENCH_CASES(optimizer_step) {
  const std::vector<NamedTensor> parameters = make_model(bench.sizes.model_config, 1)->parameters();
  const MatmulPrecision precision = bench.precision;
  const auto updates = std::make_shared<Updates>(parameters, "radam", DType::f32, precision, 1e-4);
  BenchCase c;
  c.name = fmt::format("radam, {:.2f} M parameters", static_cast<double>(updates->count()) / 1e6);
  c.forward.bytes = updates->bytes();
  c.has_backward = false;
  c.error = [parameters, precision] { return error_against_f64(parameters, precision); };
  c.run = [updates](int repeats) { return PassTimes{updates->step_ms(repeats), 0}; };
  c.run_once = [updates](CasePart last) {
    if (last == CasePart::forward) updates->step();
  };
  bench.add(std::move(c));
}

}  // namespace tandem
