// Benchmark case of Muon: momentum, orthogonalisation and update of the matrices of a model's layers.
#include "tandem/ops/muon_step.h"

#include <algorithm>
#include <memory>

#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/random.h"
#include "tandem/models/registry.h"
#include "tandem/models/training/optimizer.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

// Matrices with random gradients, and the copies that a model in this precision has of them.
class MuonUpdates {
 public:
  MuonUpdates(const std::vector<Shape>& shapes, DType dtype, MatmulPrecision precision, double lr)
      : precision_(precision),
        device_(bench_device()),
        lr_(full({1}, lr, DType::f64, device_)),
        outcome_(full({kOutcomeSize}, 1, DType::f64, device_)),
        timed_([this] { step(); }) {
    Random random(7);
    const bool copied = dtype == DType::f32 && bench_activation_dtype(precision) == DType::bf16;
    for (const Shape& shape : shapes) {
      const Tensor gradient(shape, DType::f32, device_);
      random.fill_normal(gradient, 0, 1e-3);
      slots_.push_back({zeros(shape, dtype, device_), gradient.to(dtype), zeros(shape, dtype, device_),
                        copied ? Tensor(shape, DType::bf16, device_) : Tensor(), Tensor()});
    }
  }
  MuonUpdates(const MuonUpdates&) = delete;
  MuonUpdates& operator=(const MuonUpdates&) = delete;

  void step() {
    const PrecisionScope scope(precision_, device_);
    muon_step(slots_, MuonRule(), lr_, outcome_);
  }
  double step_ms(int repeats) { return timed_.run_ms(repeats); }
  const std::vector<MuonSlot>& slots() const { return slots_; }

 private:
  MatmulPrecision precision_;
  Device device_;
  Tensor lr_, outcome_;
  std::vector<MuonSlot> slots_;
  TimedWork timed_;
};

double error_against_f64(const std::vector<Shape>& shapes, MatmulPrecision precision) {
  MuonUpdates actual(shapes, DType::f32, precision, 1), expected(shapes, DType::f64, MatmulPrecision::f32, 1);
  double worst = 0;
  actual.step(), expected.step();
  for (size_t i = 0; i < shapes.size(); ++i)
    worst = std::max({worst, relative_difference(actual.slots()[i].value, expected.slots()[i].value),
                      relative_difference(actual.slots()[i].m, expected.slots()[i].m)});
  return worst;
}

}  // namespace

BENCH_CASES(muon_step, BenchPrecisions::every) {
  const PrecisionScope scope(bench.precision, bench_device());
  std::vector<Shape> shapes;
  double flops = 0, elements = 0;
  bool is_exact = true;
  for (const NamedTensor& parameter : make_model(bench.sizes.model_config, 1)->parameters()) {
    if (!muon_moves(parameter)) continue;
    const Shape& shape = parameter.value.shape();
    const auto [shorter_axis, longer_axis] = std::minmax({shape[0], shape[1]});
    const double count = static_cast<double>(shape.numel()), shorter = static_cast<double>(shorter_axis);
    shapes.push_back(shape);
    elements += count;
    const double rectangular = 2 * shorter * count,
                 square = 2 * shorter * shorter * shorter;  // of one product
    const bool by_gram = muon_works_on_gram(DType::f32, bench_device(), shorter_axis, longer_axis);
    is_exact = is_exact && (by_gram || bench.precision == MatmulPrecision::f32);
    flops += by_gram
                 ? 2 * rectangular + (4 * kMuonIterations - 3) * square  // X X', Q X; A A, A P, P A P, P Q
                 : kMuonIterations * (2 * rectangular + square);         // X X' and P X; A A
  }
  const auto updates = std::make_shared<MuonUpdates>(shapes, DType::f32, bench.precision, 1e-4);
  BenchCase c;
  c.name = fmt::format("{} matrices, {:.2f} M elements", shapes.size(), elements / 1e6);
  c.forward.flops = flops;
  c.has_backward = false;
  // The iteration enlarges small singular values, and with them their rounding errors, up to 485 times.
  c.tolerance = is_exact ? 1e-4 : bench.precision == MatmulPrecision::tf32 ? 2e-2 : 1e-1;
  c.error = [shapes, precision = bench.precision] { return error_against_f64(shapes, precision); };
  c.run = [updates](int repeats) { return PassTimes{updates->step_ms(repeats), 0}; };
  c.run_once = [updates](CasePart last) {
    if (last == CasePart::forward) updates->step();
  };
  bench.add(std::move(c));
}

}  // namespace tandem
