// Optimizers on every device: golden paths, clipping, skipped parameters and steps, bf16 copies, exact resume,
// errors.
#include "tandem/models/training/optimizer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/give_gradient.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"
#include "tests/support/parameters.h"

namespace tandem::testing {
namespace {

// Returns the largest |p - golden| / largest |golden| over all steps of a run on f(p) = p.Hp / 2 - b.p.
double distance_from_golden(const std::string& run, const OptimizerConfig& config, double lr, DType dtype,
                            Device device) {
  const Tensor hessian = golden("ops/inputs", "quadratic.H"), b = golden("ops/inputs", "quadratic.b");
  const Tensor path = golden("ops/outputs", run);
  const int64_t n = b.numel();
  const Tensor p = requires_grad(golden("ops/inputs", "quadratic.p0").to(dtype).clone().to(device));
  Optimizer optimizer({{"p", p}}, config);
  double distance = 0;
  for (int64_t t = 0; t < path.size(0); ++t) {
    const Tensor now = p.to(Device::cpu()).to(DType::f64);
    distance = std::max(distance, relative_error(now, path.view_rows(t, t + 1).view_as({n})));
    const Tensor g = tensor_from({n}, [&](int64_t i) {
      double sum = -b.data<double>()[i];
      for (int64_t j = 0; j < n; ++j) sum += hessian.data<double>()[i * n + j] * now.data<double>()[j];
      return sum;
    });
    give_gradient(p, g.to(dtype).to(device));
    optimizer.step(lr);
  }
  CHECK(optimizer.steps() == path.size(0));
  return distance;
}

// Returns two parameters that share no size.
std::vector<NamedTensor> two_parameters(DType dtype, Device device = Device::cpu()) {
  return {{"w", requires_grad(random_tensor({7, 5}, dtype, 1).to(device))},
          {"b", requires_grad(random_tensor({3}, dtype, 2).to(device))}};
}

}  // namespace

TEST_CASE("optimizer: golden paths of RAdam, in its variants, and AdamW") {
  const auto settings = golden_json("ops/expected.json").at("config");
  const auto run = [&settings](const char* kind, const std::string& name, bool decay,
                               bool degenerated_to_sgd) {
    const auto& s = settings.at(kind);
    OptimizerConfig config{.kind = kind, .beta1 = s.at("beta1"), .beta2 = s.at("beta2"), .eps = s.at("eps")};
    config.weight_decay = decay ? s.at("weight_decay").get<double>() : 0.0;
    config.clip = 0;
    config.degenerated_to_sgd = degenerated_to_sgd;
    CAPTURE(name);
    for (const Device device : test_devices()) {
      CAPTURE(device.str());
      CHECK(distance_from_golden(name, config, s.at("lr"), DType::f64, device) < 1e-12);
      CHECK(distance_from_golden(name, config, s.at("lr"), DType::f32, device) < 1e-5);
    }
  };
  run("radam", "radam.decoupled.p", true, true);
  run("radam", "radam.no_decay.p", false, true);
  run("radam", "radam_original.p", true, false);
  run("radam", "radam_original.degenerated_to_sgd.p", true, true);
  run("adamw", "adamw.p", true, true);
}

TEST_CASE("optimizer: LAMB's first step, by hand, with its own default of eps") {
  // m = .1 g and v = .001 g^2, so that m / (sqrt(v) + eps) is nearly sqrt(10) for g = 1, and 1/110 for 1e-6.
  for (const Device device : test_devices()) {
    const auto moved = [device](double value, double gradient) {
      const Tensor p = requires_grad(full({4}, value, DType::f64, device));
      Optimizer optimizer({{"p", p}}, {.kind = "lamb", .weight_decay = 0, .clip = 0});
      give_gradient(p, full({4}, gradient, DType::f64, device));
      optimizer.step(0.5);
      return value - p.to_vector<double>()[3];
    };
    const auto direction = [](double g) { return 0.1 * g / (std::sqrt(0.001) * g + 1e-6); };
    for (const double g : {1.0, 1e-6}) {
      CHECK(moved(2, g) == doctest::Approx(0.5 * 2));   // trust |p| / |s|: every element moves by lr p
      CHECK(moved(50, g) == doctest::Approx(0.5 * 5));  // |p| counts as 10 at most: 5 an element
      CHECK(moved(0, g) == doctest::Approx(0.5 * direction(g)));  // trust 1
    }
    CHECK(moved(0.1, 1.0) == doctest::Approx(0.5 * 0.25 * direction(1)));  // the smallest trust ratio
    CHECK(moved(3, 0.0) == 0);
  }
}

TEST_CASE("optimizer: the norm and the clipped gradients are the golden ones") {
  const auto runs = golden_json("ops/expected.json").at("clip");
  int run = 0;
  for (const auto& expected : runs) {
    std::vector<NamedTensor> parameters;
    for (int k = 0; k < 3; ++k) {
      const std::string name = "clip.grad." + std::to_string(k);
      const Tensor gradient = golden("ops/inputs", name);
      parameters.push_back({name, requires_grad(zeros_like(gradient))});
      give_gradient(parameters.back().value, gradient);
    }
    Optimizer optimizer(parameters, {.clip = expected.at("max_norm")});
    // The first update of RAdam from zero: m = 0.1 g, and the parameter moves by -lr m / 0.1 = -lr g.
    CHECK(optimizer.step(1.0).gradient_norm ==
          doctest::Approx(expected.at("total_norm").get<double>()).epsilon(1e-14));
    for (int k = 0; k < 3; ++k) {
      const Tensor clipped =
          golden("ops/outputs", "clip." + std::to_string(run) + ".grad." + std::to_string(k));
      const Tensor& p = parameters[k].value;
      CHECK(relative_error(tensor_from(p.shape(), [&p](int64_t i) { return -p.data<double>()[i]; }),
                           clipped) < 1e-12);
      CHECK_FALSE(grad(p).defined());
    }
    ++run;
  }
  CHECK(run == 3);
}

TEST_CASE("optimizer: with clip 0 gradients are left as they are") {
  const Tensor p = requires_grad(zeros({2}, DType::f64));
  Optimizer optimizer({{"p", p}}, {.clip = 0});
  give_gradient(p, full({2}, 1e6, DType::f64));
  optimizer.step(1.0);
  CHECK(p.to_vector<double>()[0] == doctest::Approx(-1e6));
}

TEST_CASE("optimizer: a parameter without a gradient is left as it is, and counts its own updates") {
  const auto parameters = two_parameters(DType::f64);
  const Tensor before = parameters[1].value.clone();
  Optimizer optimizer(parameters, {});
  for (int i = 0; i < 8; ++i) {
    give_gradient(parameters[0].value, random_tensor({7, 5}, DType::f64, 30 + i));
    optimizer.step(0.1);
  }
  CHECK(same_bits(parameters[1].value, before));
  CHECK(optimizer.steps() == 8);

  // Its first update is the one that a new optimizer makes.
  const Tensor twin = requires_grad(before.clone()), g = random_tensor({3}, DType::f64, 9);
  Optimizer fresh({{"b", twin}}, {});
  give_gradient(twin, g);
  give_gradient(parameters[1].value, g);
  fresh.step(0.1);
  optimizer.step(0.1);
  CHECK(same_bits(parameters[1].value, twin));
}

TEST_CASE("optimizer: with decay of matrices those of one axis move as without any") {
  const auto after = [](const OptimizerConfig& config) {
    const auto parameters = two_parameters(DType::f64);
    Optimizer optimizer(parameters, config);
    for (int i = 0; i < 8; ++i) {
      for (const NamedTensor& parameter : parameters)
        give_gradient(parameter.value, random_tensor(parameter.value.shape(), DType::f64, 30 + i));
      optimizer.step(0.1);
    }
    return parameters;
  };
  const auto all = after({}), matrices = after({.decay = "matrices"}), none = after({.weight_decay = 0});
  REQUIRE(matrices[0].value.rank() == 2);
  REQUIRE(matrices[1].value.rank() == 1);
  CHECK(same_bits(matrices[0].value, all[0].value));
  CHECK(same_bits(matrices[1].value, none[1].value));
  CHECK_FALSE(same_bits(all[0].value, none[0].value));
  CHECK_FALSE(same_bits(all[1].value, none[1].value));
}

TEST_CASE("optimizer: one tensor under two names, whole or in part, is refused") {
  const Tensor p = requires_grad(zeros({4, 2}, DType::f64));
  CHECK(contains(error_of([&p] {
                   Optimizer({{"a", p}, {"b", p}}, {});
                 }),
                 "the parameters a and b share their memory"));
  const Tensor view = requires_grad(p.view_rows(0, 2));
  CHECK(contains(error_of([&] {
                   Optimizer({{"a", p}, {"b", view}}, {});
                 }),
                 "the parameters a and b share their memory"));
  CHECK_NOTHROW(Optimizer({{"a", p}, {"b", requires_grad(p.clone())}}, {}));
}

TEST_CASE("optimizer: from a saved state training goes on bit for bit") {
  const auto resume = [](const std::string& kind, DType dtype, Device device) {
    const auto one = kind == "muon" ? mixed_parameters(dtype, device) : two_parameters(dtype, device);
    Optimizer first(one, {.kind = kind});
    const auto train = [](Optimizer& optimizer, const std::vector<NamedTensor>& parameters, uint64_t from,
                          uint64_t to) {
      for (uint64_t i = from; i < to; ++i) {
        random_gradients(parameters, 10 * i);
        optimizer.step(0.01);
      }
    };
    train(first, one, 0, 7);
    std::vector<NamedTensor> saved, two = cloned(one);
    for (const NamedTensor& x : two) requires_grad(x.value);
    for (const NamedTensor& x : first.state()) saved.push_back({x.name, x.value.to(Device::cpu()).clone()});
    train(first, one, 7, 12);

    Optimizer second(two, {.kind = kind});
    second.load_state(saved);
    CHECK(second.steps() == 7);
    train(second, two, 7, 12);
    CHECK(same_bits(one, two));
    CHECK(same_bits(first.state(), second.state()));
  };
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f32, DType::f64})
      for (const std::string kind : {"radam", "muon"}) resume(kind, dtype, device);
}

TEST_CASE("optimizer: a state that does not fit is refused, and nothing changes") {
  const auto parameters = two_parameters(DType::f32);
  Optimizer optimizer(parameters, {});
  random_gradients(parameters, 4);
  optimizer.step(0.01);
  const auto load = [&optimizer](const std::vector<NamedTensor>& state) {
    return error_of([&] { optimizer.load_state(state); });
  };
  const auto good = [&optimizer] {
    std::vector<NamedTensor> state;
    for (const NamedTensor& x : optimizer.state()) state.push_back({x.name, zeros_like(x.value)});
    return state;
  };
  auto missing = good();
  missing.pop_back();
  CHECK(load(missing) == "optimizer: the state has no b.v; it is of another model, or incomplete");
  auto misshapen = good();
  misshapen[2].value = zeros({5, 7}, DType::f32);
  CHECK(load(misshapen) ==
        "optimizer: w.m of the state is f32 (5, 7) on cpu, but this model takes f32 (7, 5) on cpu");
  auto wide = good();
  wide[3].value = zeros({7, 5}, DType::f64);
  CHECK(load(wide).find("optimizer: w.v of the state is f64") == 0);
  auto foreign = good();
  foreign.push_back({"c.m", zeros({1}, DType::f32)});
  CHECK(load(foreign) == "optimizer: the state holds c.m, which this model does not have");
  CHECK(optimizer.steps() == 1);
  CHECK(optimizer.state()[2].value.to_vector<float>()[0] != 0);
}

TEST_CASE("optimizer: a step that is not finite changes nothing, says so, and clears the gradients") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const Device device : test_devices()) {
    const auto parameters = two_parameters(DType::f32, device);
    Optimizer optimizer(parameters, {});
    random_gradients(parameters, 4);
    CHECK(optimizer.step(0.1).updated);
    const auto before = cloned(parameters), state = cloned(optimizer.state());

    random_gradients(parameters, 6);
    give_gradient(parameters[1].value, full({3}, kNan, DType::f32, device));
    const StepOutcome skipped = optimizer.step(0.1);
    CHECK(std::isnan(skipped.gradient_norm));
    CHECK_FALSE(skipped.updated);
    for (const NamedTensor& x : parameters) CHECK_FALSE(grad(x.value).defined());

    random_gradients(parameters, 8);
    const Tensor lr = full({1}, 0.1, DType::f64, device);
    const Tensor values = zeros({StepOutcome::kSize}, DType::f64, device);
    optimizer.step(lr, full({1}, kNan, DType::f64, device), values);
    const StepOutcome outcome = StepOutcome::read(values.to_vector<double>());
    CHECK(std::isnan(outcome.loss));
    CHECK(outcome.gradient_norm > 0);
    CHECK(std::isfinite(outcome.gradient_norm));
    CHECK_FALSE(outcome.updated);
    for (const NamedTensor& x : parameters) CHECK_FALSE(grad(x.value).defined());

    CHECK(same_bits(parameters, before));
    CHECK(same_bits(optimizer.state(), state));
    CHECK(optimizer.steps() == 1);
  }
}

TEST_CASE("optimizer: both ways to step do the same") {
  for (const Device device : test_devices()) {
    const auto one = two_parameters(DType::f32, device), two = two_parameters(DType::f32, device);
    Optimizer first(one, {}), second(two, {});
    const Tensor lr = full({1}, 0.1, DType::f64, device), loss = full({1}, 2, DType::f64, device);
    const Tensor outcome = zeros({StepOutcome::kSize}, DType::f64, device);
    for (uint64_t i = 0; i < 8; ++i) {
      random_gradients(one, 10 * i);
      random_gradients(two, 10 * i);
      const double norm = first.step(0.1).gradient_norm;
      second.step(lr, loss, outcome);
      CHECK(outcome.to_vector<double>() == std::vector<double>{2, norm, 1});
    }
    CHECK(same_bits(one, two));
    CHECK(same_bits(first.state(), second.state()));
  }
}

TEST_CASE("optimizer: a learning rate that is not finite is refused, and nothing changes") {
  const auto parameters = two_parameters(DType::f32);
  Optimizer optimizer(parameters, {});
  random_gradients(parameters, 4);
  CHECK(error_of([&] { optimizer.step(std::numeric_limits<double>::infinity()); }) ==
        "optimizer: learning rate inf; it must be finite");
  CHECK(optimizer.steps() == 0);
  for (const NamedTensor& x : parameters) CHECK(grad(x.value).defined());
}

TEST_CASE("optimizer: the bf16 copy of a weight follows every update, in its place") {
  for (const Device device : test_devices()) {
    const auto parameters = two_parameters(DType::f32, device);
    const Tensor& w = parameters[0].value;
    const Tensor rounded = weight_as(w, DType::bf16);
    Optimizer optimizer(parameters, {});
    for (uint64_t i = 0; i < 3; ++i) {
      const Tensor before = rounded.clone();
      const uint64_t version = w.storage()->version();
      random_gradients(parameters, 10 * i);
      optimizer.step(0.1);
      CHECK_FALSE(same_bits(rounded, before));
      CHECK(same_bits(rounded, w.to(Device::cpu()).to(DType::bf16)));
      CHECK(weight_as(w, DType::bf16).same_as(rounded));
      CHECK(w.storage()->version() > version);
    }
    fill(rounded, 0);  // shows whether the copy is made again
    CHECK(same_bits(weight_as(w, DType::bf16), zeros({7, 5}, DType::bf16)));
    CHECK_FALSE(low_precision_copy(parameters[1].value).defined());

    // Someone else writes the weight, then a step is skipped: the copy must not count as current.
    copy(w, full({7, 5}, 3, DType::f32, device));
    give_gradient(w, full({7, 5}, INFINITY, DType::f32, device));
    CHECK_FALSE(optimizer.step(0.1).updated);
    CHECK(same_bits(weight_as(w, DType::bf16), full({7, 5}, 3, DType::bf16)));
  }
}

TEST_CASE("optimizer: bad settings and parameters") {
  const Tensor leaf = requires_grad(zeros({2}, DType::f32));
  const auto error = [&leaf](const OptimizerConfig& config) {
    return error_of([&] { Optimizer optimizer({{"p", leaf}}, config); });
  };
  CHECK(error({.kind = "sgd"}) == "optimizer: unknown kind \"sgd\"; use radam, adamw, lamb, nag or muon");
  CHECK(error({.beta1 = 1}) == "optimizer: beta1 is 1; it must be at least 0 and below 1");
  CHECK(error({.beta2 = -0.5}) == "optimizer: beta2 is -0.5; it must be at least 0 and below 1");
  CHECK(error({.muon_beta = 1}) == "optimizer: muon_beta is 1; it must be at least 0 and below 1");
  CHECK(error({.eps = -1}) ==
        "optimizer: eps is -1; it must be positive, such as 1e-8, or 0 for the kind's own");
  CHECK(error({.min_trust = -1}) ==
        "optimizer: least trust ratio is -1; it must be a finite number, 0 for none");
  CHECK(error({.weight_decay = -1}) ==
        "optimizer: weight decay is -1; it must be a finite number, 0 for none");
  CHECK(error({.decay = "biases"}) ==
        "optimizer: decay of \"biases\"; use all, or matrices for none of biases and gains");
  CHECK(error({.clip = -1}) == "optimizer: clip is -1; it must be a finite number, 0 for none");
  CHECK(error_of([] {
          Optimizer optimizer({{"p", zeros({2}, DType::f32)}}, {});
        }) == "optimizer: parameter p, f32 (2) on cpu, is not a leaf; call requires_grad() on it");
  CHECK(error_of([&] {
          Optimizer optimizer({{"p", leaf}, {"p", leaf}}, {});
        }) == "optimizer: two parameters are named p; state is kept by name");
  CHECK(error_of([] {
          Optimizer optimizer({{"p", requires_grad(zeros({2}, DType::bf16))}}, {});
        }) == "optimizer: parameter p is bf16 (2) on cpu; keep parameters in f32 or f64");
}

}  // namespace tandem::testing
