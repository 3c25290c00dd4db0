// Training with pruned weights: every optimizer, every device, and the same bits after a resume.
#include <algorithm>
#include <cmath>

#include "tandem/models/training/optimizer.h"
#include "tandem/ops/support/weight_cache.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/give_gradient.h"
#include "tests/support/op_cases.h"
#include "tests/support/small_run.h"

namespace tandem::testing {
namespace {

// Returns a mask that prunes every third element.
Tensor third_pruned(const Shape& shape) {
  return tensor_from(shape, [](int64_t i) { return i % 3 == 0 ? 0.0 : 1.0; }).to(DType::u8);
}

TEST_CASE("optimizer: pruned weights and their moments are exactly 0, and the others move as if alone") {
  constexpr int64_t n = 30;
  const Tensor mask = third_pruned({n}), start = random_tensor({n}, DType::f64, 1);
  const auto rest = [&mask](const Tensor& x) {
    const std::vector<double> all = x.to(DType::f64).to_vector<double>();
    std::vector<double> some;
    for (int64_t i = 0; i < n; ++i)
      if (mask.data<uint8_t>()[i]) some.push_back(all[i]);
    return some;
  };
  for (const Device device : test_devices())
    for (const std::string kind : {"radam", "adamw", "lamb"}) {
      CAPTURE(kind);
      CAPTURE(device.str());
      OptimizerConfig config;
      config.kind = kind;
      config.clip = 0.5;  // the norm counts only the weights that are kept
      const Tensor p = requires_grad(start.to(DType::f64).clone().to(device));
      const std::vector<double> few = rest(start);
      const Tensor alone = requires_grad(tensor_of({n / 3 * 2}, few).to(device));
      Optimizer held({{"p", p}}, config), small({{"p", alone}}, config);
      held.set_pruning_masks({{"p", mask}});
      for (uint64_t t = 0; t < 12; ++t) {
        const Tensor g = random_tensor({n}, DType::f64, 10 + t);
        give_gradient(p, g.to(device));
        give_gradient(alone, tensor_of({n / 3 * 2}, rest(g)).to(device));
        const double norm = held.step(0.05).gradient_norm;
        CHECK(norm == doctest::Approx(small.step(0.05).gradient_norm).epsilon(1e-12));
      }
      const std::vector<double> left = rest(p), expected = alone.to_vector<double>();
      CHECK(left != few);
      for (size_t i = 0; i < left.size(); ++i) CHECK(left[i] == doctest::Approx(expected[i]).epsilon(1e-12));
      std::vector<NamedTensor> state = held.state();
      state.push_back({"value", p});
      for (const NamedTensor& part : state) {
        if (part.value.numel() != n) continue;
        const std::vector<double> all = part.value.to(DType::f64).to_vector<double>();
        for (int64_t i = 0; i < n; i += 3) CHECK(all[i] == 0);
      }
    }
}

TEST_CASE("optimizer: masks are replaced as a whole; a wrong one changes nothing") {
  const Tensor a = requires_grad(full({2, 3}, 1, DType::f32)), b = requires_grad(full({4}, 1, DType::f32));
  Optimizer optimizer({{"a", a}, {"b", b}}, {});
  const auto refused = [&](const NamedTensor& mask) {
    return error_of([&] { optimizer.set_pruning_masks({{"a", zeros({2, 3}, DType::u8)}, mask}); });
  };
  CHECK(contains(refused({"c", zeros({4}, DType::u8)}),
                 "there is a mask for c, which this model does not have"));
  CHECK(contains(refused({"b", zeros({3}, DType::u8)}), "the mask of b is u8 (3) on cpu; it must be u8 (4)"));
  CHECK(contains(refused({"b", zeros({4}, DType::f32)}), "the mask of b is f32 (4)"));
  CHECK(contains(refused({"a", zeros({2, 3}, DType::u8)}), "there are two masks for a"));
  CHECK(a.to_vector<float>() == std::vector<float>(6, 1));
  optimizer.set_pruning_masks({{"a", third_pruned({2, 3})}});
  CHECK(a.to_vector<float>() == std::vector<float>{0, 1, 1, 0, 1, 1});
  optimizer.set_pruning_masks({});
  give_gradient(a, full({2, 3}, 1, DType::f32));
  optimizer.step(0.1);
  CHECK(a.to_vector<float>()[0] != 0);
}

TEST_CASE("optimizer: the bf16 copy of a weight is pruned with it") {
  const Tensor a = requires_grad(full({2, 3}, 1, DType::f32));
  Optimizer optimizer({{"a", a}}, {});
  CHECK(weight_as(a, DType::bf16).to(DType::f32).to_vector<float>()[0] == 1);
  optimizer.set_pruning_masks({{"a", third_pruned({2, 3})}});
  CHECK(weight_as(a, DType::bf16).to(DType::f32).to_vector<float>() == std::vector<float>{0, 1, 1, 0, 1, 1});
}

TEST_CASE("optimizer: Muon leaves pruned weights and their momenta at 0, and moves the others") {
  const Shape shape{17, 40};
  const Tensor mask = third_pruned(shape);
  for (const Device device : test_devices()) {
    const Tensor w = requires_grad(full(shape, 1, DType::f32, device));
    const Tensor rounded = weight_as(w, DType::bf16);
    Optimizer optimizer({{"layers.0.weight", w}}, {.kind = "muon"});
    optimizer.set_pruning_masks({{"layers.0.weight", mask}});
    for (uint64_t t = 0; t < 3; ++t) {
      give_gradient(w, random_tensor(shape, DType::f32, t + 1).to(device));
      CHECK(optimizer.step(0.05).updated);
    }
    const Tensor m = find_tensor(optimizer.state(), "layers.0.weight.m");
    for (const Tensor& x : {w, m, weight_as(w, DType::bf16)}) {
      const std::vector<float> all = x.to(DType::f32).to_vector<float>();
      for (size_t i = 0; i < all.size(); ++i) CHECK((i % 3 == 0) == (all[i] == 0));
    }
    CHECK(weight_as(w, DType::bf16).same_as(rounded));
    for (const float x : w.to_vector<float>()) CHECK(x != 1);
  }
}

// Returns a trainer that has 60 % of its weights pruned.
Trainer pruned_trainer(const std::string& optimizer, Device device) {
  Trainer trainer = make_trainer(run_by(optimizer), device);
  Checkpoint start = trainer.checkpoint();
  for (NamedTensor& parameter : start.parameters) parameter.value = parameter.value.to(Device::cpu()).clone();
  start.masks = prune(start.parameters, 0.6, PruningScope::layer);
  trainer.restore(start);
  return trainer;
}

TEST_CASE("trainer: pruned weights stay 0, and a resumed run goes on bit for bit") {
  for (const Device device : test_devices())
    for (const std::string optimizer : {"radam", "muon"}) {
      CAPTURE(device.str());
      CAPTURE(optimizer);
      Trainer whole = pruned_trainer(optimizer, device);
      const std::vector<double> expected = losses(whole, 12);
      CHECK(expected.back() < expected.front());
      const Checkpoint last = whole.checkpoint();
      REQUIRE(!last.masks.empty());
      for (const auto& [name, mask] : last.masks) {
        const std::vector<float> w = find_tensor(last.parameters, name).to_vector<float>();
        int64_t moved = 0;
        for (size_t i = 0; i < w.size(); ++i) moved += w[i] != 0 && !mask.data<uint8_t>()[i];
        CHECK(moved == 0);
        CHECK(std::count(w.begin(), w.end(), 0.0f) == std::llround(0.6 * static_cast<double>(w.size())));
      }

      const TempDir folder;
      const std::string path = folder / "last.safetensors";
      Trainer before = pruned_trainer(optimizer, device);
      std::vector<double> seen = losses(before, 5);
      save_checkpoint(path, before.checkpoint());
      Trainer after = make_trainer(run_by(optimizer), device);
      after.restore(load_checkpoint(path));
      const std::vector<double> rest = losses(after, 7);
      seen.insert(seen.end(), rest.begin(), rest.end());
      CHECK(seen == expected);
    }
}

}  // namespace
}  // namespace tandem::testing
