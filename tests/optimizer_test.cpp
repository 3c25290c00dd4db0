// Optimizers on the golden quadratic, clipping, skipped parameters, exact resume, and errors.
#include "models/optimizer.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>

#include "autograd/gradient.h"
#include "autograd/tape.h"
#include "tests/errors.h"
#include "tests/golden.h"
#include "tests/op_cases.h"

namespace tandem::testing {
namespace {

// Leaves `value` as the gradient of a leaf, by a backward pass.
void give_gradient(const Tensor& leaf, const Tensor& value) {
  Tape tape;
  const Tensor y = record("give_gradient", leaf.detach(), {leaf},
                          [value](const Tensor&) -> Grads { return {value.clone()}; });
  tape.backward({y}, {value});
}

// Largest |p - golden| / largest |golden| over all steps of a run on f(p) = p.Hp / 2 - b.p.
double distance_from_golden(const std::string& run, const OptimizerConfig& config, double lr, DType dtype) {
  const Tensor hessian = golden("ops/inputs", "quadratic.H"), b = golden("ops/inputs", "quadratic.b");
  const Tensor path = golden("ops/outputs", run);
  const int64_t n = b.numel();
  const Tensor p = requires_grad(golden("ops/inputs", "quadratic.p0").to(dtype).clone());
  Optimizer optimizer({{"p", p}}, config);
  double distance = 0;
  for (int64_t t = 0; t < path.size(0); ++t) {
    distance = std::max(distance, relative_error(p, path.alias_rows(t, t + 1).alias_shape({n})));
    const Tensor now = p.to(DType::f64);
    const Tensor g = tensor_from({n}, [&](int64_t i) {
      double sum = -b.data<double>()[i];
      for (int64_t j = 0; j < n; ++j) sum += hessian.data<double>()[i * n + j] * now.data<double>()[j];
      return sum;
    });
    give_gradient(p, g.to(dtype));
    optimizer.step(lr);
  }
  CHECK(optimizer.steps() == path.size(0));
  return distance;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  return std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0;
}

// Two parameters that share no size, in the dtype asked for.
std::vector<NamedTensor> two_parameters(DType dtype) {
  return {{"w", requires_grad(random_tensor({7, 5}, dtype, 1))},
          {"b", requires_grad(random_tensor({3}, dtype, 2))}};
}

void random_gradients(const std::vector<NamedTensor>& parameters, uint64_t seed) {
  for (const auto& [name, value] : parameters)
    give_gradient(value, random_tensor(value.shape(), value.dtype(), seed++));
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
    CHECK(distance_from_golden(name, config, s.at("lr"), DType::f64) < 1e-12);
    CHECK(distance_from_golden(name, config, s.at("lr"), DType::f32) < 1e-5);
  };
  run("radam", "radam.decoupled.p", true, true);
  run("radam", "radam.no_decay.p", false, true);
  run("radam", "radam_original.p", true, false);
  run("radam", "radam_original.degenerated_to_sgd.p", true, true);
  run("adamw", "adamw.p", true, true);
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
    CHECK(optimizer.gradient_norm() ==
          doctest::Approx(expected.at("total_norm").get<double>()).epsilon(1e-14));
    // The first update of RAdam from zero: m = 0.1 g, and the parameter moves by -lr m / 0.1 = -lr g.
    optimizer.step(1.0);
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

  // Its first gradient finds it as a fresh optimizer would.
  const Tensor twin = requires_grad(before.clone()), g = random_tensor({3}, DType::f64, 9);
  Optimizer fresh({{"b", twin}}, {});
  give_gradient(twin, g);
  give_gradient(parameters[1].value, g);
  fresh.step(0.1);
  optimizer.step(0.1);
  CHECK(same_bits(parameters[1].value, twin));
}

TEST_CASE("optimizer: from a saved state training goes on bit for bit") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    const auto one = two_parameters(dtype);
    Optimizer first(one, {});
    const auto train = [](Optimizer& optimizer, const std::vector<NamedTensor>& parameters, uint64_t from,
                          uint64_t to) {
      for (uint64_t i = from; i < to; ++i) {
        random_gradients(parameters, 10 * i);
        optimizer.step(0.01);
      }
    };
    train(first, one, 0, 7);
    std::vector<NamedTensor> saved, two;
    for (const NamedTensor& x : first.state()) saved.push_back({x.name, x.value.clone()});
    for (const NamedTensor& x : one) two.push_back({x.name, requires_grad(x.value.clone())});
    train(first, one, 7, 12);

    Optimizer second(two, {});
    second.load_state(saved);
    CHECK(second.steps() == 7);
    train(second, two, 7, 12);
    for (size_t i = 0; i < one.size(); ++i) CHECK(same_bits(one[i].value, two[i].value));
  }
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

TEST_CASE("optimizer: a step that cannot be right is refused") {
  const auto parameters = two_parameters(DType::f32);
  Optimizer optimizer(parameters, {});
  const Tensor before = parameters[1].value.clone();
  random_gradients(parameters, 4);
  give_gradient(parameters[1].value, full({3}, std::numeric_limits<double>::quiet_NaN(), DType::f32));
  CHECK(std::isnan(optimizer.gradient_norm()));
  CHECK(error_of([&] { optimizer.step(0.1); }) ==
        "optimizer: the gradient norm is nan; skip this step with zero_grad()");
  CHECK(same_bits(parameters[1].value, before));
  optimizer.zero_grad();
  CHECK(optimizer.gradient_norm() == 0);
  CHECK(optimizer.steps() == 0);
  CHECK(error_of([&] { optimizer.step(std::numeric_limits<double>::infinity()); }) ==
        "optimizer: learning rate inf; it must be finite");
}

TEST_CASE("optimizer: bad settings and parameters") {
  const Tensor leaf = requires_grad(zeros({2}, DType::f32));
  const auto error = [&leaf](const OptimizerConfig& config) {
    return error_of([&] { Optimizer optimizer({{"p", leaf}}, config); });
  };
  CHECK(error({.kind = "sgd"}) == "optimizer: unknown kind \"sgd\"; use radam or adamw");
  CHECK(error({.beta1 = 1}) == "optimizer: beta1 is 1; it must be at least 0 and below 1");
  CHECK(error({.beta2 = -0.5}) == "optimizer: beta2 is -0.5; it must be at least 0 and below 1");
  CHECK(error({.eps = 0}) == "optimizer: eps is 0; it must be positive, such as 1e-8");
  CHECK(error({.weight_decay = -1}) ==
        "optimizer: weight decay is -1; it must be a finite number, 0 for none");
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
