// muon_step against plain loops on every device: all shapes, both dtypes, the singular values of its updates, the same
// bits every time, pruned weights, skipped steps.
#include "tandem/ops/muon_step.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/runtime/graph.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/ops/optimizer_step.h"
#include "tandem/ops/reference/muon_step.h"
#include "tests/support/devices.h"
#include "tests/support/errors.h"
#include "tests/support/op_cases.h"
#include "tests/support/same_bits.h"
#include "tests/support/signatures.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

constexpr double kLr = 0.02;

// Wide, tall and square, of one row and one column, with a rest in every tile, and two that share a batch with their
// transpose.
const std::vector<Shape> kShapes{{3, 65},   {65, 3}, {33, 33}, {1, 5},    {5, 1}, {100, 70},
                                 {70, 100}, {65, 3}, {48, 96}, {17, 160}, {0, 4}, {130, 33}};

// Returns slots. Every third one has no copy, and every second one has a mask that prunes about a third.
std::vector<MuonSlot> make_slots(const std::vector<Shape>& shapes, DType dtype, Device device) {
  std::vector<MuonSlot> slots;
  for (const Shape& shape : shapes) {
    const uint64_t i = slots.size(), seed = 4 * i + 1;
    const auto random = [&](uint64_t key) { return random_tensor(shape, dtype, key).to(device); };
    const Tensor copy = i % 3 == 2 ? Tensor() : zeros(shape, DType::bf16, device);
    const Tensor pruned = tensor_from(shape, [](int64_t k) { return k % 3 == 0 ? 0.0 : 1.0; });
    slots.push_back({random(seed), random(seed + 1), random(seed + 2), copy,
                     i % 2 == 1 ? pruned.to(dtype).to(device) : Tensor()});
  }
  return slots;
}

Tensor outcome_on(Device device, bool updated) {
  return tensor_of<double>({kOutcomeSize}, std::vector<double>{1.5, 2.5, updated ? 1.0 : 0.0}).to(device);
}

void run(const std::vector<MuonSlot>& slots, const MuonRule& rule, Device device, bool updated = true,
         double lr = kLr) {
  muon_step(slots, rule, full({1}, lr, DType::f64, device), outcome_on(device, updated));
}

using testing::same_bits;  // of two tensors

bool same_bits(const std::vector<MuonSlot>& a, const std::vector<MuonSlot>& b) {
  bool same = a.size() == b.size();
  for (size_t i = 0; same && i < a.size(); ++i)
    same = same_bits(a[i].value, b[i].value) && same_bits(a[i].m, b[i].m) && same_bits(a[i].copy, b[i].copy);
  return same;
}

// Checks values and momenta against f64, and that copies are the rounded values.
void check_slots(const std::vector<MuonSlot>& slots, const std::vector<MuonSlot>& expected,
                 double tolerance) {
  REQUIRE(slots.size() == expected.size());
  for (size_t i = 0; i < slots.size(); ++i) {
    CAPTURE(i);
    CAPTURE(slots[i].value.summary());
    CHECK(relative_error(slots[i].value.to(Device::cpu()), expected[i].value) < tolerance);
    CHECK(relative_error(slots[i].m.to(Device::cpu()), expected[i].m) < 1e-6);
    if (slots[i].copy.defined())
      CHECK(same_bits(slots[i].copy, slots[i].value.to(Device::cpu()).to(DType::bf16)));
  }
}

// Returns the X of one step for the gradient g: what a step from 0 without decay subtracts, over its factor.
Tensor orthogonalised(const Tensor& g, Device device) {
  const Tensor value = zeros(g.shape(), g.dtype(), device);
  run({{value, g.to(device), zeros_like(value), Tensor(), Tensor()}}, {.weight_decay = 0}, device, true, 1);
  const double longer = static_cast<double>(std::max(g.size(0), g.size(1)));
  const std::vector<double> p = value.to(DType::f64).to_vector<double>();
  return tensor_from(g.shape(), [&](int64_t i) { return p[i] / (-0.2 * std::sqrt(longer)); });
}

// Returns the singular values of x: the square roots of the eigenvalues of the smaller Gram matrix, by Jacobi's
// rotations.
std::vector<double> singular_values(const Tensor& x) {
  reference::Matrix a{x.size(0), x.size(1), x.to_vector<double>()};
  if (a.rows > a.columns) a = reference::transposed(a);
  reference::Matrix gram = reference::product(a, reference::transposed(a));
  const int64_t n = gram.rows;
  for (int sweep = 0; sweep < 12; ++sweep)
    for (int64_t p = 0; p < n; ++p)
      for (int64_t q = p + 1; q < n; ++q) {
        const double angle = 0.5 * std::atan2(2 * gram.at(p, q), gram.at(q, q) - gram.at(p, p));
        const double c = std::cos(angle), s = std::sin(angle);
        for (int64_t k = 0; k < n; ++k) {
          const double kp = gram.at(k, p), kq = gram.at(k, q);
          gram.at(k, p) = c * kp - s * kq;
          gram.at(k, q) = s * kp + c * kq;
        }
        for (int64_t k = 0; k < n; ++k) {
          const double pk = gram.at(p, k), qk = gram.at(q, k);
          gram.at(p, k) = c * pk - s * qk;
          gram.at(q, k) = s * pk + c * qk;
        }
      }
  std::vector<double> all;
  for (int64_t i = 0; i < n; ++i) all.push_back(std::sqrt(gram.at(i, i)));
  return all;
}

}  // namespace

SIGNATURES(muon_step) {
  add_signature({.op = "muon_step",
                 .function = "muon_step",
                 .sizes = {2, 3},
                 .tensors = [](const Sizes& n) -> TensorArguments {
                   const Shape shape{n[0], n[1]};
                   return {{"slot.value", shape},
                           {"slot.gradient", shape},
                           {"slot.m", shape},
                           {"slot.copy", shape, DType::bf16, true},
                           {"slot.mask", shape, DType::f32, true},
                           {"lr", {1}, DType::f64},
                           {"outcome", {3}, DType::f64}};
                 },
                 .call = [](const Tensors& x, const Numbers&) -> Tensors {
                   muon_step({{x[0], x[1], x[2], x[3], x[4]}}, {}, x[5], x[6]);
                   return {};
                 }});
}

TEST_CASE("muon_step: two updates of every matrix equal the paper's, in f64 and f32") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32})
      for (const MuonRule rule :
           {MuonRule{}, MuonRule{.beta = 0, .weight_decay = 0}, MuonRule{.beta = 0.5, .weight_decay = 1}}) {
        CAPTURE(device.str());
        CAPTURE(name_of(dtype));
        const std::vector<MuonSlot> slots = make_slots(kShapes, dtype, device);
        const std::vector<MuonSlot> expected = make_slots(kShapes, DType::f64, Device::cpu());
        for (int i = 0; i < 2; ++i) {
          run(slots, rule, device);
          for (const MuonSlot& slot : expected) reference::muon_update(slot, rule, kLr);
        }
        check_slots(slots, expected, dtype == DType::f64 ? 1e-10 : 2e-5);
      }
}

TEST_CASE(
    "muon_step: in bf16 the update is near that in f64; nearer on a CPU for long matrices, which stay in f32") {
  for (const Device device : test_devices()) {
    if (device.is_cpu() && !cpu_has_bf16()) continue;
    const PrecisionScope bf16(MatmulPrecision::bf16, device);
    for (const std::vector<Shape>& shapes :
         {std::vector<Shape>{{48, 160}, {160, 48}, {17, 65}}, {{48, 50}, {50, 48}}}) {
      const std::vector<MuonSlot> slots = make_slots(shapes, DType::f32, device);
      const std::vector<MuonSlot> expected = make_slots(shapes, DType::f64, Device::cpu());
      const bool stays_in_f32 = muon_works_on_gram(DType::f32, device, shapes[0][0], shapes[0][1]);
      CHECK(stays_in_f32 == (device.is_cpu() && shapes[0] == Shape{48, 160}));
      const MuonRule rule;
      run(slots, rule, device);
      for (const MuonSlot& slot : expected) reference::muon_update(slot, rule, kLr);
      check_slots(slots, expected, stays_in_f32 ? 2e-5 : 2e-2);
    }
  }
}

TEST_CASE(
    "muon_step: the singular values of what it subtracts are near 1, whatever the size of the gradient") {
  for (const Device device : test_devices())
    for (const Shape& shape : {Shape{33, 65}, Shape{65, 33}, Shape{40, 40}})
      for (const double size : {1e-3, 1.0, 1e20}) {
        CAPTURE(device.str());
        CAPTURE(shape.str());
        CAPTURE(size);
        const Tensor g = random_tensor(shape, DType::f32, 5, -size, size);
        const std::vector<double> before = singular_values(g.to(DType::f64));
        const auto [least, most] = std::minmax_element(before.begin(), before.end());
        REQUIRE(*most > 4 * *least);
        for (const double value : singular_values(orthogonalised(g, device))) {
          CHECK(value > 0.5);
          CHECK(value < 1.3);
        }
      }
}

TEST_CASE("muon_step: of gradients of few directions, and of many sizes, f32 gives what f64 gives" *
          doctest::test_suite("slow when emulated")) {
  // Gradients of real layers are so. Long matrices go another way than square ones, and only in f32 and f64.
  for (const Device device : test_devices())
    for (const Shape& shape : {Shape{40, 200}, Shape{200, 40}, Shape{40, 50}})
      for (const int directions : {1, 3, 40})
        for (const double falls : {1.0, 0.5}) {
          CAPTURE(device.str());
          CAPTURE(shape.str());
          CAPTURE(directions);
          CAPTURE(falls);
          Tensor g = zeros(shape, DType::f64);
          for (int k = 0; k < directions; ++k) {
            const Tensor row = random_tensor({shape[0]}, DType::f64, 100 + k),
                         column = random_tensor({shape[1]}, DType::f64, 200 + k);
            for (int64_t i = 0; i < g.numel(); ++i)
              g.data<double>()[i] +=
                  std::pow(falls, k) * row.data<double>()[i / shape[1]] * column.data<double>()[i % shape[1]];
          }
          const Tensor rounded = g.to(DType::f32);
          const Tensor x = orthogonalised(rounded, device);
          const reference::Matrix expected =
              reference::orthogonalised({shape[0], shape[1], rounded.to(DType::f64).to_vector<double>()});
          CHECK(relative_error(x, tensor_of<double>(shape, expected.values)) < 1e-3);
          for (const double value : singular_values(x)) CHECK(value < 1.3);
        }
}

TEST_CASE("muon_step: without a gradient a matrix only decays") {
  for (const Device device : test_devices()) {
    const Tensor value = full({20, 30}, 2, DType::f64, device), zero = zeros_like(value);
    run({{value, zero, zeros_like(value), Tensor(), Tensor()}}, {.weight_decay = 0.5}, device, true, 0.1);
    for (const double p : value.to_vector<double>()) CHECK(p == doctest::Approx(2 * (1 - 0.1 * 0.5)));
  }
}

TEST_CASE("muon_step: pruned weights become exactly 0, in the copy too, and the others move") {
  for (const Device device : test_devices()) {
    const std::vector<MuonSlot> slots = make_slots(kShapes, DType::f32, device);
    const std::vector<MuonSlot> before = make_slots(kShapes, DType::f32, device);
    run(slots, {}, device);
    for (size_t i = 1; i < slots.size(); i += 2) {
      CAPTURE(slots[i].value.summary());
      REQUIRE(slots[i].mask.defined());
      const std::vector<float> now = slots[i].value.to_vector<float>(),
                               then = before[i].value.to_vector<float>();
      for (size_t k = 0; k < now.size(); ++k) CHECK((k % 3 == 0 ? now[k] == 0 : now[k] != then[k]));
    }
  }
}

TEST_CASE("muon_step: of a skipped step nothing changes, even if gradients are not finite") {
  for (const Device device : test_devices())
    for (const DType dtype : {DType::f64, DType::f32}) {
      const std::vector<MuonSlot> slots = make_slots(kShapes, dtype, device);
      const std::vector<MuonSlot> before = make_slots(kShapes, dtype, device);
      fill(slots[2].gradient, std::numeric_limits<double>::quiet_NaN());
      fill(slots[5].gradient, std::numeric_limits<double>::infinity());
      run(slots, {}, device, false);
      CHECK(same_bits(slots, before));
    }
}

TEST_CASE("muon_step: the same bits again, with one thread and with more" *
          doctest::test_suite("slow when emulated")) {
  for (const Device device : test_devices()) {
    const auto steps = [device](int threads) {
      const Threads use(threads);
      // The last two are large enough for several blocks and several threads.
      const std::vector<MuonSlot> slots =
          make_slots({{100, 70}, {70, 100}, {33, 33}, {150, 300}, {300, 150}}, DType::f32, device);
      for (int i = 0; i < 2; ++i) run(slots, {}, device);
      return slots;
    };
    const std::vector<MuonSlot> slots = steps(1);
    for (const int threads : {1, 2, 3}) CHECK(same_bits(slots, steps(threads)));
  }
}

TEST_CASE("muon_step: more matrices than a batch holds, of both dtypes, move as if alone") {
  std::vector<Shape> shapes;
  for (int64_t i = 0; i < 2 * kMuonBatch + 3; ++i)
    shapes.push_back(i % 2 == 0 ? Shape{3, 5} : i % 5 == 0 ? Shape{4, 4} : Shape{5, 3});
  for (const Device device : test_devices()) {
    const auto mixed = [&shapes](DType dtype, Device on) {
      std::vector<MuonSlot> slots = make_slots(shapes, dtype, on);
      const std::vector<MuonSlot> wide = make_slots({{3, 5}, {5, 3}}, DType::f64, on);
      slots.insert(slots.begin() + 70, wide.begin(), wide.end());
      return slots;
    };
    const std::vector<MuonSlot> slots = mixed(DType::f32, device),
                                expected = mixed(DType::f64, Device::cpu());
    run(slots, {}, device);
    for (const MuonSlot& slot : expected) reference::muon_update(slot, {}, kLr);
    check_slots(slots, expected, 2e-5);
    for (const size_t i : {70, 71})
      CHECK(relative_error(slots[i].value.to(Device::cpu()), expected[i].value) < 1e-10);
  }
}

TEST_CASE("muon_step: recorded in a CUDA graph, it follows the learning rate, gradients and the outcome") {
  if (!has_cuda() || allocator_mode_from_environment() == AllocatorMode::direct) return;
  if constexpr (kWithCuda) {
    const Device device = Device::cuda();
    for (const MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16}) {
      const PrecisionScope scope(precision, device);
      const auto slots = make_slots(kShapes, DType::f32, device),
                 eager = make_slots(kShapes, DType::f32, device);
      const Tensor lr = full({1}, 0, DType::f64, device), outcome = outcome_on(device, true);
      muon_step(make_slots(kShapes, DType::f32, device), {}, lr,
                outcome);  // chooses the products' algorithms
      cuda::Graph graph;
      graph.capture([&] { muon_step(slots, {}, lr, outcome); });
      CHECK(same_bits(slots, eager));
      for (int i = 0; i < 6; ++i) {
        fill(lr, 0.01 * (i + 1));
        copy(outcome, outcome_on(device, i != 3));
        for (const auto& all : {slots, eager})
          copy(all[0].gradient, random_tensor(kShapes[0], DType::f32, 200 + i).to(device));
        const Tensor before = slots[0].value.clone();
        graph.replay(0);
        muon_step(eager, {}, lr, outcome);
        CHECK(same_bits(slots, eager));
        CHECK(same_bits(slots[0].value, before) == (i == 3));
      }
    }
  }
}

TEST_CASE("muon_step: errors for tensors of another shape or dtype") {
  const Tensor one = zeros({1}, DType::f64), three = zeros({3}, DType::f64);
  const Tensor w = zeros({4, 6}, DType::f32), g = zeros({4, 6}, DType::f32), none;
  const auto error = [](const MuonSlot& slot, const Tensor& lr, const Tensor& outcome) {
    return error_of([&] { muon_step({slot}, {}, lr, outcome); });
  };
  const MuonSlot good{w, g, g, none, none};
  CHECK(error(good, one, one) == "muon_step: outcome is f64 (1) on cpu; it must be f64 (3) on cpu");
  CHECK(error(good, three, three) == "muon_step: lr is f64 (3) on cpu; it must be f64 (1) on cpu");
  const Tensor vector = zeros({4}, DType::f32), turned = zeros({6, 4}, DType::f32);
  CHECK(error({vector, vector, vector, none, none}, one, three) ==
        "muon_step: slot.value is f32 (4) on cpu; it must be a matrix, f32 or f64, on cpu");
  const Tensor rounded = zeros({4, 6}, DType::bf16);
  CHECK(contains(error({rounded, g, g, none, none}, one, three), "slot.value is bf16 (4, 6) on cpu"));
  CHECK(error({w, turned, g, none, none}, one, three) ==
        "muon_step: slot.gradient is (6, 4), but slot.value is (4, 6) and takes slot.gradient (4, 6)");
  CHECK(contains(error({w, g, zeros({4, 6}, DType::f64), none, none}, one, three),
                 "slot.m is f64 (4, 6) on cpu, but slot.value is f32 (4, 6) on cpu; give slot.m in f32"));
  CHECK(contains(error({w, g, g, g, none}, one, three), "give slot.copy in bf16"));
  CHECK(contains(error({w, g, g, none, rounded}, one, three), "give slot.mask in f32"));
}

}  // namespace tandem::testing
