// The optimizer "muon": which parameters it moves and how, skipped steps, bf16 copies.
#include <doctest/doctest.h>

#include <cmath>
#include <string>

#include "tandem/core/array.h"
#include "tandem/models/training/optimizer.h"
#include "tandem/ops/reference/muon_step.h"
#include "tandem/ops/reference/optimizer_step.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/devices.h"
#include "tests/support/parameters.h"

namespace tandem::testing {

TEST_CASE("optimizer: Muon moves matrices of layers, and RAdam all else, as the papers say") {
  const OptimizerConfig config{.kind = "muon", .clip = 0.5};
  const UpdateRule radam{.kind = OptimizerKind::radam, .clip = 0.5};
  constexpr double kLr = 0.02;
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32}) {
      CAPTURE(device.str());
      CAPTURE(name_of(dtype));
      const auto parameters = mixed_parameters(dtype, device);
      Optimizer optimizer(parameters, config);
      std::vector<ParameterSlot> expected;
      for (const auto& [name, value] : mixed_parameters(DType::f64))
        expected.push_back({value.detach(), Tensor(), zeros_like(value), zeros_like(value), Tensor(),
                            zeros({1}, DType::i64)});
      for (uint64_t t = 0; t < 8; ++t) {        // RAdam's first five updates are of another kind
        random_gradients(parameters, 100 * t);  // of parameter i with seed 100 t + i
        double squares = 0;
        for (size_t i = 0; i < expected.size(); ++i) {
          expected[i].gradient = random_tensor(expected[i].value.shape(), DType::f64, 100 * t + i);
          for (const double g : expected[i].gradient.to_vector<double>()) squares += g * g;
        }
        const double norm = std::sqrt(squares);
        for (size_t i = 0; i < expected.size(); ++i) {
          const ParameterSlot& slot = expected[i];
          if (i < kByMuon)
            reference::muon_update({slot.value, slot.gradient, slot.m, Tensor(), Tensor()}, {}, kLr);
          else
            reference::optimizer_update(slot, radam, kLr, 0.5 / (norm + 1e-6));
        }
        const StepOutcome outcome = optimizer.step(kLr);
        CHECK(outcome.updated);
        CHECK(outcome.gradient_norm == doctest::Approx(norm).epsilon(1e-12));
      }
      const auto state = optimizer.state();
      for (size_t i = 0; i < parameters.size(); ++i) {
        const std::string& name = parameters[i].name;
        const Tensor& value = parameters[i].value;
        CAPTURE(name);
        CHECK(muon_moves(parameters[i]) == (i < kByMuon));
        const double tolerance = dtype == DType::f64 ? 1e-10 : 5e-5;
        CHECK(relative_error(value.to(Device::cpu()), expected[i].value) < tolerance);
        CHECK(relative_error(find_tensor(state, name + ".m").to(Device::cpu()), expected[i].m) < 1e-6);
        CHECK(relative_error(find_tensor(state, name + ".v").to(Device::cpu()), expected[i].v) < 1e-6);
        CHECK(find_tensor(state, name + ".steps").item() == 8);
      }
    }
}

TEST_CASE("optimizer: Muon's skipped steps change nothing, and its bf16 copies follow the weights") {
  for (const Device device : test_devices()) {
    const auto parameters = mixed_parameters(DType::f32, device);
    const Tensor& w = parameters[1].value;
    const Tensor rounded = weight_as(w, DType::bf16);
    Optimizer optimizer(parameters, {.kind = "muon"});
    random_gradients(parameters, 4);
    const uint64_t version = w.storage()->version();
    CHECK(optimizer.step(0.1).updated);
    CHECK(w.storage()->version() > version);
    CHECK(weight_as(w, DType::bf16).same_as(rounded));
    CHECK(same_bits(rounded, w.to(Device::cpu()).to(DType::bf16)));

    const auto before = cloned(parameters), state = cloned(optimizer.state());
    for (const size_t bad : {size_t{0}, parameters.size() - 1}) {  // of Muon, of RAdam
      random_gradients(parameters, 6);
      const Tensor& value = parameters[bad].value;
      give_gradient(value, full(value.shape(), INFINITY, DType::f32, device));
      CHECK_FALSE(optimizer.step(0.1).updated);
      CHECK(same_bits(parameters, before));
      CHECK(same_bits(optimizer.state(), state));
    }
  }
}

}  // namespace tandem::testing
