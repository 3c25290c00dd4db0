// optimizer_step against plain loops on every device: many blocks and slots, the same bits every time, nothing
// changed if a number is not finite.
#include "tandem/ops/optimizer_step.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/runtime/graph.h"
#include "tandem/ops/reference/optimizer_step.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/same_bits.h"
#include "tests/support/signatures.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kLr = 0.02, kLoss = 1.5;

Tensor f64_on(Device device, double value) {
  return full({1}, value, DType::f64, device);
}

// Returns slots. Slot i has made 9 + i updates if i is even, none if i is odd; every third one has no copy, and every
// fourth one does not decay.
std::vector<ParameterSlot> make_slots(const std::vector<int64_t>& sizes, DType dtype, Device device) {
  std::vector<ParameterSlot> slots;
  for (const int64_t n : sizes) {
    const uint64_t i = slots.size(), seed = 4 * i + 1;
    const auto random = [n, dtype, device](uint64_t key, double lo) {
      return random_tensor({n}, dtype, key, lo, 1).to(device);
    };
    const Tensor copy = i % 3 == 2 ? Tensor() : zeros({n}, DType::bf16, device);
    slots.push_back({random(seed, -1), random(seed + 1, -1), random(seed + 2, -1), random(seed + 3, 0), copy,
                     full({1}, i % 2 == 0 ? 9 + static_cast<double>(i) : 0, DType::i64, device), i % 4 != 3});
  }
  return slots;
}

const std::vector<int64_t> kSizes{1, 3, 33, 65, 0, 5000, 16384, 16385, 100000};

std::vector<int64_t> hundred_sizes() {
  std::vector<int64_t> sizes;
  for (int64_t i = 0; i < 100; ++i) sizes.push_back(1 + i * 37 % 211);
  return sizes;
}

// Measures all gradients and updates all slots, as one process does.
void whole_step(const std::vector<ParameterSlot>& slots, const UpdateRule& rule, const Tensor& lr,
                const Tensor& loss, const Tensor& outcome) {
  int64_t count = 0;
  for (const ParameterSlot& slot : slots) count += square_count(slot.value.numel(), outcome.device());
  const Tensor squares({count}, DType::f64, outcome.device());
  gradient_squares(slots, squares);
  optimizer_step(slots, rule, lr, loss, squares, outcome);
}

struct Outcome {
  double loss, norm, updated;
};
Outcome run(const std::vector<ParameterSlot>& slots, const UpdateRule& rule, Device device,
            double loss = kLoss) {
  const Tensor outcome({3}, DType::f64, device);
  whole_step(slots, rule, f64_on(device, kLr), f64_on(device, loss), outcome);
  const std::vector<double> values = outcome.to_vector<double>();
  return {values[kOutcomeLoss], values[kOutcomeGradNorm], values[kOutcomeUpdated]};
}

double plain_norm(const std::vector<ParameterSlot>& slots) {
  double squares = 0;
  for (const ParameterSlot& slot : slots)
    for (const double g : slot.gradient.to(DType::f64).to_vector<double>()) squares += g * g;
  return std::sqrt(squares);
}

using testing::same_bits;  // of two tensors

bool same_bits(const std::vector<ParameterSlot>& a, const std::vector<ParameterSlot>& b) {
  bool same = a.size() == b.size();
  for (size_t i = 0; same && i < a.size(); ++i)
    same = same_bits(a[i].value, b[i].value) && same_bits(a[i].m, b[i].m) && same_bits(a[i].v, b[i].v) &&
           same_bits(a[i].copy, b[i].copy) && same_bits(a[i].steps, b[i].steps);
  return same;
}

// Checks values, moments and counts, and that copies are the rounded values.
void check_slots(const std::vector<ParameterSlot>& slots, const std::vector<ParameterSlot>& expected,
                 double tolerance) {
  REQUIRE(slots.size() == expected.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    const ParameterSlot &slot = slots[i], &other = expected[i];
    CAPTURE(i);
    CAPTURE(slot.value.summary());
    CHECK(relative_error(slot.value.to(Device::cpu()), other.value) < tolerance);
    CHECK(relative_error(slot.m.to(Device::cpu()), other.m) < tolerance);
    CHECK(relative_error(slot.v.to(Device::cpu()), other.v) < tolerance);
    CHECK(same_bits(slot.steps, other.steps));
    if (slot.copy.defined()) CHECK(same_bits(slot.copy, slot.value.to(Device::cpu()).to(DType::bf16)));
  }
}

// Sets x[index] = value.
void put(const Tensor& x, int64_t index, double value) {
  copy(x.view_rows(index, index + 1), f64_on(x.device(), value));
}

// Returns the tensors of a slot, and `more` behind them.
TensorArguments with_slot(const Sizes& n, TensorArguments more) {
  const Shape shape{n[0], n[1]};
  TensorArguments all{{"slot.value", shape},
                      {"slot.gradient", shape},
                      {"slot.m", shape},
                      {"slot.v", shape},
                      {"slot.copy", shape, DType::bf16, true},
                      {"slot.steps", {1}, DType::i64}};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}
std::vector<ParameterSlot> slot_of(const Tensors& x) {
  return {{x[0], x[1], x[2], x[3], x[4], x[5]}};
}

}  // namespace

SIGNATURES(optimizer_step) {
  add_signature({.op = "optimizer_step",
                 .function = "optimizer_step",
                 .sizes = {2, 3},
                 .tensors =
                     [](const Sizes& n) {
                       return with_slot(n, {{"lr", {1}, DType::f64},
                                            {"loss", {1}, DType::f64, true},
                                            {"squares", {1}, DType::f64},
                                            {"outcome", {3}, DType::f64}});
                     },
                 .call = [](const Tensors& x, const Numbers& n) -> Tensors {
                   UpdateRule rule;
                   rule.kind = static_cast<OptimizerKind>(n[0]);
                   optimizer_step(slot_of(x), rule, x[6], x[7], x[8], x[9]);
                   return {};
                 },
                 .numbers = {{"kind", 0, {1, 2, 3}}}});
  add_signature({.op = "optimizer_step",
                 .function = "gradient_squares",
                 .sizes = {2, 3},
                 .tensors =
                     [](const Sizes& n) {
                       return with_slot(n, {{"squares", {1}, DType::f64}});
                     },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   gradient_squares(slot_of(x), x[6]);
                   return {};
                 }});
}

TEST_CASE("optimizer_step: every element of every parameter equals the papers' update, in f64 and f32") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32})
      for (const UpdateRule rule :
           {UpdateRule{.kind = OptimizerKind::radam}, UpdateRule{.kind = OptimizerKind::adamw},
            UpdateRule{.beta1 = 0.5, .weight_decay = 0, .clip = 0},
            UpdateRule{.clip = 0.25, .degenerated_to_sgd = false},
            UpdateRule{.kind = OptimizerKind::lamb, .eps = 1e-6, .weight_decay = 0.01},
            UpdateRule{.kind = OptimizerKind::lamb, .eps = 1e-6, .min_trust = 0},
            UpdateRule{.kind = OptimizerKind::nag, .beta1 = 0.99, .clip = 0.1}}) {
        CAPTURE(device.str());
        CAPTURE(name_of(dtype));
        const std::vector<ParameterSlot> slots = make_slots(kSizes, dtype, device);
        const std::vector<ParameterSlot> expected = make_slots(kSizes, DType::f64, Device::cpu());
        const double norm = plain_norm(expected);
        REQUIRE(norm > 1);
        const double scale = rule.clip > 0 ? rule.clip / (norm + 1e-6) : 1;
        for (const ParameterSlot& slot : expected) reference::optimizer_update(slot, rule, kLr, scale);

        const Outcome outcome = run(slots, rule, device);
        CHECK(outcome.loss == kLoss);
        CHECK(outcome.norm == doctest::Approx(norm).epsilon(1e-12));
        CHECK(outcome.updated == 1);
        check_slots(slots, expected, dtype == DType::f64 ? 1e-12 : 1e-6);
      }
}

TEST_CASE("optimizer_step: gradients below the clip are left as they are") {
  for (const Device device : test_devices()) {
    const auto slots = make_slots({65}, DType::f64, device), same = make_slots({65}, DType::f64, device);
    const double norm = run(slots, {.clip = 0}, device).norm;
    CHECK(run(same, {.clip = 1.01 * norm}, device).norm == norm);
    CHECK(same_bits(slots, same));
  }
}

TEST_CASE("optimizer_step: a loss or norm that is not finite is reported and changes nothing") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32}) {
      CAPTURE(device.str());
      const std::vector<int64_t> sizes{65, 3, 20000};
      const auto slots = make_slots(sizes, dtype, device), before = make_slots(sizes, dtype, device);
      for (const double bad : {kNan, kInfinity, -kInfinity}) {
        const Outcome outcome = run(slots, {}, device, bad);
        CHECK((std::isnan(bad) ? std::isnan(outcome.loss) : outcome.loss == bad));
        CHECK(outcome.norm == doctest::Approx(plain_norm(before)).epsilon(1e-12));
        CHECK(outcome.updated == 0);
        CHECK(same_bits(slots, before));
      }
      const std::pair<size_t, int64_t> places[] = {{0, 0}, {1, 2}, {2, 19999}};
      for (const auto& [slot, index] : places)
        for (const double bad : {kNan, kInfinity, -kInfinity}) {
          const Tensor good = slots[slot].gradient.clone();
          put(slots[slot].gradient, index, bad);
          const Outcome outcome = run(slots, {}, device);
          CHECK(outcome.loss == kLoss);
          CHECK((std::isnan(bad) ? std::isnan(outcome.norm) : outcome.norm == kInfinity));
          CHECK(outcome.updated == 0);
          CHECK(same_bits(slots, before));
          copy(slots[slot].gradient, good);
        }
      CHECK(run(slots, {}, device).updated == 1);
      CHECK_FALSE(same_bits(slots, before));
    }
}

TEST_CASE("optimizer_step: the same bits again, with one thread and with more") {
  for (const Device device : test_devices())
    for (const OptimizerKind kind : {OptimizerKind::radam, OptimizerKind::lamb}) {
      const auto steps = [device, kind](int threads) {
        const Threads use(threads);
        std::vector<ParameterSlot> slots = make_slots(kSizes, DType::f32, device);
        const double norm = run(slots, {.kind = kind}, device).norm;
        run(slots, {.kind = kind}, device);
        return std::pair(norm, slots);
      };
      const auto [norm, slots] = steps(1);
      for (const int threads : {1, 2, 3}) {
        const auto [other_norm, other] = steps(threads);
        CHECK(norm == other_norm);
        CHECK(same_bits(slots, other));
      }
    }
}

TEST_CASE("optimizer_step: a hundred parameters, of both dtypes, three updates as on the CPU") {
  for (const OptimizerKind kind : {OptimizerKind::radam, OptimizerKind::lamb}) {
    const UpdateRule rule{.kind = kind};
    const auto mixed = [](Device device) {
      std::vector<ParameterSlot> slots = make_slots(hundred_sizes(), DType::f32, device);
      const std::vector<ParameterSlot> wide = make_slots({65, 5000, 3}, DType::f64, device);
      slots.insert(slots.begin() + 70, wide.begin(), wide.end());
      return slots;
    };
    const std::vector<ParameterSlot> expected = mixed(Device::cpu());
    double norm = 0;
    for (int i = 0; i < 3; ++i) norm = run(expected, rule, Device::cpu()).norm;
    CHECK(norm == doctest::Approx(plain_norm(expected)).epsilon(1e-12));
    CHECK(expected[0].steps.item() == 12);
    CHECK(expected[1].steps.item() == 3);
    for (const Device device : test_devices()) {
      CAPTURE(device.str());
      const std::vector<ParameterSlot> slots = mixed(device);
      double own_norm = 0;
      for (int i = 0; i < 3; ++i) own_norm = run(slots, rule, device).norm;
      CHECK(own_norm == doctest::Approx(norm).epsilon(1e-14));
      check_slots(slots, expected, 1e-6);
      for (const size_t i : {70, 71, 72}) {
        CHECK(relative_error(slots[i].value.to(Device::cpu()), expected[i].value) < 1e-12);
        CHECK(relative_error(slots[i].m.to(Device::cpu()), expected[i].m) < 1e-12);
        CHECK(relative_error(slots[i].v.to(Device::cpu()), expected[i].v) < 1e-12);
      }
    }
  }
}

TEST_CASE(
    "optimizer_step: recorded in a CUDA graph, it follows the learning rate, gradients, loss and counts") {
  if (!has_cuda() || allocator_mode_from_environment() == AllocatorMode::direct) return;
  if constexpr (kWithCuda) {
    const Device device = Device::cuda();
    const auto slots = make_slots(kSizes, DType::f32, device), eager = make_slots(kSizes, DType::f32, device);
    const Tensor lr = f64_on(device, 0), loss = f64_on(device, 0);
    const Tensor outcome = zeros({3}, DType::f64, device), eager_outcome = zeros({3}, DType::f64, device);
    cuda::Graph graph;
    const UpdateRule rule{.kind = OptimizerKind::lamb};  // the rule with the most kernels
    graph.capture([&] { whole_step(slots, rule, lr, loss, outcome); });
    CHECK(same_bits(slots, eager));
    for (int i = 0; i < 8; ++i) {
      fill(lr, 0.01 * (i + 1));
      fill(loss, i == 5 ? kNan : 1);
      for (const auto& all : {slots, eager})
        copy(all.back().gradient, random_tensor({100000}, DType::f32, 200 + i).to(device));
      graph.replay(0);
      whole_step(eager, rule, lr, loss, eager_outcome);
      CHECK(same_bits(slots, eager));
      CHECK(same_bits(outcome, eager_outcome));
    }
    CHECK(slots[0].steps.item() == 9 + 7);
  }
}

TEST_CASE("optimizer_step: unaligned views are updated, and nothing around them") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32}) {
      const std::vector<int64_t> sizes{70, 9001};
      const auto whole = make_slots(sizes, dtype, device), before = make_slots(sizes, dtype, device);
      const auto inner = [](const std::vector<ParameterSlot>& slots) {
        std::vector<ParameterSlot> views;
        for (const ParameterSlot& x : slots) {
          const auto cut = [](const Tensor& t) { return t.view_rows(1, t.size(0) - 2); };
          views.push_back({cut(x.value), cut(x.gradient), cut(x.m), cut(x.v), cut(x.copy), x.steps});
        }
        return views;
      };
      std::vector<ParameterSlot> expected = make_slots(sizes, dtype, Device::cpu());
      expected = inner(expected);
      run(inner(whole), {}, device);
      run(expected, {}, Device::cpu());
      check_slots(inner(whole), expected, dtype == DType::f64 ? 1e-12 : 1e-6);
      for (size_t i = 0; i < whole.size(); ++i) {
        const auto edges = [](const Tensor& now, const Tensor& then) {
          const int64_t n = now.size(0);
          return same_bits(now.view_rows(0, 1), then.view_rows(0, 1)) &&
                 same_bits(now.view_rows(n - 2, n), then.view_rows(n - 2, n));
        };
        CHECK(edges(whole[i].value, before[i].value));
        CHECK(edges(whole[i].m, before[i].m));
        CHECK(edges(whole[i].v, before[i].v));
        CHECK(edges(whole[i].copy, before[i].copy));
      }
    }
}

TEST_CASE("optimizer_step: squares beyond f32, no loss, and no slots") {
  for (const Device device : test_devices()) {
    std::vector<ParameterSlot> slots = make_slots({100}, DType::f32, device);
    copy(slots[0].gradient, full({100}, 1e30, DType::f32, device));
    const Tensor outcome({3}, DType::f64, device), lr = f64_on(device, kLr);
    whole_step(slots, {}, lr, Tensor(), outcome);
    CHECK(outcome.to_vector<double>()[0] == 0);
    CHECK(outcome.to_vector<double>()[1] == doctest::Approx(1e31));
    CHECK(outcome.to_vector<double>()[2] == 1);
    whole_step({}, {}, lr, Tensor(), outcome);
    CHECK(outcome.to_vector<double>() == std::vector<double>{0, 0, 1});
  }
}

TEST_CASE("optimizer_step: errors for tensors of another shape or dtype") {
  const Tensor one = zeros({1}, DType::f64), three = zeros({3}, DType::f64);
  const auto error = [](const Tensor& lr, const Tensor& loss, const Tensor& outcome) {
    return error_of([&] { whole_step({}, {}, lr, loss, outcome); });
  };
  CHECK(error(one, one, one) == "optimizer_step: outcome is f64 (1) on cpu; it must be f64 (3) on cpu");
  CHECK(error(three, one, three) == "optimizer_step: lr is f64 (3) on cpu; it must be f64 (1) on cpu");
  CHECK(error(one, zeros({1}, DType::f32), three) ==
        "optimizer_step: loss is f32 (1) on cpu; it must be f64 (1) on cpu");
}

}  // namespace tandem::testing
