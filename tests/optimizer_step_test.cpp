// The fused update and the gradient norm: against plain loops, over many blocks, the same bits with any
// threads.
#include "ops/optimizer_step.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "tests/op_cases.h"
#include "tests/threads.h"

namespace tandem::testing {
namespace {

const int64_t kSizes[] = {1, 3, 33, 65, 16384, 16385, 100000};

std::vector<AdamSlot> make_slots(DType dtype) {
  std::vector<AdamSlot> slots;
  uint64_t seed = 1;
  for (const int64_t n : kSizes) {
    AdamCoefficients c{
        .gradient_scale = 0.5, .decay = 1e-3, .rate = 0.02 * static_cast<double>(seed), .root_scale = 1.5};
    slots.push_back({random_tensor({n}, dtype, seed), random_tensor({n}, dtype, seed + 1),
                     random_tensor({n}, dtype, seed + 2), random_tensor({n}, dtype, seed + 3, 0, 1), c});
    seed += 4;
  }
  return slots;
}

}  // namespace

TEST_CASE("optimizer_step: every element of every parameter as written, in f64 and f32") {
  for (const DType dtype : {DType::f64, DType::f32}) {
    std::vector<AdamSlot> before = make_slots(DType::f64), after = make_slots(dtype);
    adam_step(after);
    for (size_t s = 0; s < after.size(); ++s) {
      const AdamCoefficients& c = before[s].coefficients;
      const double *p = before[s].value.data<double>(), *gradient = before[s].gradient.data<double>();
      const double *m = before[s].m.data<double>(), *v = before[s].v.data<double>();
      const Shape shape = before[s].value.shape();
      const Tensor new_m =
          tensor_from(shape, [&](int64_t i) { return 0.9 * m[i] + 0.1 * 0.5 * gradient[i]; });
      const Tensor new_v = tensor_from(
          shape, [&](int64_t i) { return 0.999 * v[i] + 0.001 * std::pow(0.5 * gradient[i], 2); });
      const Tensor value = tensor_from(shape, [&](int64_t i) {
        const double step = new_m.data<double>()[i] / (1.5 * std::sqrt(new_v.data<double>()[i]) + 1e-8);
        return (1 - 1e-3) * p[i] - c.rate * step;
      });
      CAPTURE(shape.str());
      const double tolerance = dtype == DType::f64 ? 1e-13 : 1e-6;
      CHECK(relative_error(after[s].m, new_m) < tolerance);
      CHECK(relative_error(after[s].v, new_v) < tolerance);
      CHECK(relative_error(after[s].value, value) < tolerance);
    }
  }
}

TEST_CASE(
    "optimizer_step: root_scale 0 and eps 1 make a momentum step; rate and decay 0 leave the parameter "
    "alone") {
  const Tensor p = random_tensor({40}, DType::f32, 1), g = random_tensor({40}, DType::f32, 2),
               before = p.clone();
  const Tensor m = zeros({40}, DType::f32), v = zeros({40}, DType::f32);
  adam_step({{p, g, m, v, {.rate = 0, .root_scale = 0, .eps = 1}}});
  CHECK(std::memcmp(p.raw(), before.raw(), p.nbytes()) == 0);
  CHECK(relative_error(m, tensor_from({40}, [&g](int64_t i) {
                         return 0.1 * static_cast<double>(g.data<float>()[i]);
                       })) < 1e-6);
  adam_step({{p, g, m, v, {.beta1 = 0, .rate = 0.5, .root_scale = 0, .eps = 1}}});
  const Tensor expected = tensor_from({40}, [&before, &g](int64_t i) {
    return static_cast<double>(before.data<float>()[i]) - 0.5 * static_cast<double>(g.data<float>()[i]);
  });
  CHECK(relative_error(p, expected) < 1e-6);
}

TEST_CASE("optimizer_step: the same bits with one thread and with more") {
  const auto run = [](int threads) {
    const Threads use(threads);
    const std::vector<AdamSlot> slots = make_slots(DType::f32);
    adam_step(slots);
    return slots;
  };
  const auto one = run(1);
  for (const int threads : {2, 3}) {
    const auto other = run(threads);
    for (size_t s = 0; s < one.size(); ++s)
      CHECK(std::memcmp(one[s].value.raw(), other[s].value.raw(), one[s].value.nbytes()) == 0);
  }
}

TEST_CASE(
    "gradient_norm: against a plain sum, the same bits with any threads, and never infinite by rounding") {
  std::vector<Tensor> gradients;
  double squares = 0;
  uint64_t seed = 50;
  for (const int64_t n : kSizes) {
    gradients.push_back(random_tensor({n}, DType::f32, seed++));
    for (const float g : gradients.back().span<float>())
      squares += static_cast<double>(g) * static_cast<double>(g);
  }
  const auto norm = [&gradients](int threads) {
    const Threads use(threads);
    return gradient_norm(gradients);
  };
  CHECK(norm(1) == doctest::Approx(std::sqrt(squares)).epsilon(1e-12));
  CHECK(norm(1) == norm(2));
  CHECK(norm(1) == norm(3));
  CHECK(gradient_norm({}) == 0);
  CHECK(gradient_norm({full({100}, 1e30, DType::f32)}) == doctest::Approx(1e31));  // a square is beyond f32
  CHECK(std::isinf(gradient_norm({full({2}, INFINITY, DType::f32)})));
}

}  // namespace tandem::testing
