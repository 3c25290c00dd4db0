// Random: its distributions, its state, and that threads and dtype do not matter.
#include "tandem/core/random.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "tandem/core/error.h"
#include "tests/support/threads.h"

using namespace tandem;

namespace {

struct Moments {
  double mean = 0, variance = 0, fourth = 0, low = INFINITY, high = -INFINITY, neighbours = 0;
};

Moments moments(const std::vector<double>& values) {
  const auto n = static_cast<double>(values.size());
  Moments m;
  for (double v : values) {
    m.mean += v / n;
    m.low = std::min(m.low, v);
    m.high = std::max(m.high, v);
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const double d = values[i] - m.mean;
    m.variance += d * d / n;
    m.fourth += d * d * d * d / n;
    if (i > 0) m.neighbours += d * (values[i - 1] - m.mean) / n;
  }
  return m;
}

}  // namespace

TEST_CASE("random: uniform tensors have the right range and moments") {
  constexpr int64_t kCount = 200003;
  Tensor y({kCount}, DType::f64);
  Random(1).fill_uniform(y, -2, 4);
  const Moments m = moments(y.to_vector<double>());
  CHECK(m.low >= -2);
  CHECK(m.high < 4);
  CHECK(m.low < -1.999);
  CHECK(m.high > 3.999);
  CHECK(std::abs(m.mean - 1) < 5 * std::sqrt(3.0 / kCount));
  CHECK(m.variance == doctest::Approx(3).epsilon(0.01));
  CHECK(std::abs(m.neighbours) < 5 * 3 / std::sqrt(kCount));
}

TEST_CASE("random: normal tensors have the right moments") {
  constexpr int64_t kCount = 200003;
  Tensor y({kCount}, DType::f64);
  Random(2).fill_normal(y, 3, 2);
  const Moments m = moments(y.to_vector<double>());
  CHECK(std::abs(m.mean - 3) < 5 * 2 / std::sqrt(kCount));
  CHECK(m.variance == doctest::Approx(4).epsilon(0.02));
  CHECK(m.fourth == doctest::Approx(3 * 16).epsilon(0.05));  // a normal distribution has 3 variance^2
  CHECK(std::abs(m.neighbours) < 5 * 4 / std::sqrt(kCount));
  CHECK(m.high > 3 + 2 * 4);
  CHECK(m.low < 3 - 2 * 4);
}

TEST_CASE("random: every dtype gets the same values, rounded") {
  for (bool normal : {false, true}) {
    std::vector<Tensor> filled;
    for (DType dtype : {DType::f64, DType::f32, DType::bf16}) {
      Tensor y({3, 37}, dtype);
      Random random(7);
      normal ? random.fill_normal(y, 0.5, 2) : random.fill_uniform(y, -1, 3);
      filled.push_back(y);
    }
    const auto exact = filled[0].to_vector<double>();
    const auto single = filled[1].to_vector<float>();
    const auto rounded = filled[2].to_vector<bf16>();
    for (size_t i = 0; i < exact.size(); ++i) {
      CHECK(single[i] == static_cast<float>(exact[i]));
      CHECK(rounded[i].bits == bf16(static_cast<float>(exact[i])).bits);
    }
  }
}

TEST_CASE("random: a fill does not depend on the number of threads, nor a prefix on the size") {
  const auto filled = [](int64_t size, int threads) {
    const testing::Threads use(threads);
    const Tensor x({size}, DType::f32);
    Random(3).fill_normal(x, 0, 1);
    return x.to_vector<float>();
  };
  const std::vector<float> alone = filled(100003, 1);
  CHECK(alone == filled(100003, 3));
  CHECK(std::vector<float>(alone.begin(), alone.begin() + 1001) == filled(1001, 2));
}

TEST_CASE("random: the state is two numbers, and restoring it repeats what follows") {
  Random random(99);
  Tensor y({10}, DType::f32);
  random.fill_uniform(y, 0, 1);
  CHECK(random.state() == Random::State{99, 3});  // ten elements are three blocks
  random.next_u64();
  const Random::State saved = random.state();
  CHECK(saved == Random::State{99, 4});
  std::vector<uint64_t> first, second;
  for (int i = 0; i < 5; ++i) first.push_back(random.next_u64());
  Random restored(saved);
  for (int i = 0; i < 5; ++i) second.push_back(restored.next_u64());
  CHECK(first == second);
  random = Random(saved);
  CHECK(random.next_u64() == first[0]);
  CHECK(first[0] != first[1]);
  CHECK(Random(98).next_u64() != Random(99).next_u64());

  Tensor z({10}, DType::f32);
  random.fill_uniform(z, 0, 1);
  CHECK(z.to_vector<float>() != y.to_vector<float>());
}

TEST_CASE("random: below is unbiased and stays below") {
  Random random(5);
  std::vector<int> counts(6, 0);
  constexpr int kDraws = 60000;
  for (int i = 0; i < kDraws; ++i) ++counts.at(random.below(6));
  double chi_squared = 0;
  for (int count : counts) chi_squared += (count - kDraws / 6.0) * (count - kDraws / 6.0) / (kDraws / 6.0);
  CHECK(chi_squared < 20.5);  // exceeded by chance in 0.1 % of cases (five degrees of freedom)
  CHECK(random.below(1) == 0);
  // Two thirds of 2^64: a plain remainder would draw from the lower half twice as often as from the upper.
  const uint64_t n = 0xaaaaaaaaaaaaaaaau;
  int low = 0;
  for (int i = 0; i < 10000; ++i) low += random.below(n) < n / 2;
  CHECK(std::abs(low - 5000) < 250);
  CHECK_THROWS_AS(random.below(0), Error);
}

TEST_CASE("random: single numbers have the right range and moments") {
  Random random(11);
  std::vector<double> uniform, normal;
  for (int i = 0; i < 50000; ++i) {
    uniform.push_back(random.uniform(2, 3));
    normal.push_back(random.normal());
  }
  const Moments u = moments(uniform), n = moments(normal);
  CHECK(u.low >= 2);
  CHECK(u.high < 3);
  CHECK(u.mean == doctest::Approx(2.5).epsilon(0.01));
  CHECK(u.variance == doctest::Approx(1 / 12.0).epsilon(0.03));
  CHECK(std::abs(n.mean) < 0.03);
  CHECK(n.variance == doctest::Approx(1).epsilon(0.03));
}

TEST_CASE("random: bad arguments are errors") {
  Random random(1);
  Tensor integers({3}, DType::i32), floats({3}, DType::f32);
  CHECK_THROWS_AS(random.fill_uniform(integers, 0, 1), Error);
  CHECK_THROWS_AS(random.fill_normal(integers, 0, 1), Error);
  CHECK_THROWS_AS(random.fill_uniform(floats, 1, 0), Error);
  CHECK_THROWS_AS(random.fill_uniform(floats, 0, INFINITY), Error);
  CHECK_THROWS_AS(random.fill_normal(floats, 0, -1), Error);
  CHECK_THROWS_AS(random.fill_normal(floats, NAN, 1), Error);
  CHECK_THROWS_AS(random.uniform(1, 0), Error);
  CHECK(random.state().counter == 0);  // a refused call draws nothing
  Tensor empty({0, 4}, DType::f32);
  random.fill_uniform(empty, 0, 1);
  CHECK(random.state().counter == 0);
}

TEST_CASE("random: uniform() and normal() are new tensors of what the fills draw") {
  Random a(5), b(5);
  const Tensor x = uniform({3, 5}, a, -1, 2, DType::f64), y({3, 5}, DType::f64);
  b.fill_uniform(y, -1, 2);
  CHECK(x.shape() == Shape{3, 5});
  CHECK(x.to_vector<double>() == y.to_vector<double>());
  const Tensor z = normal({7}, a), w({7}, DType::f32);
  b.fill_normal(w, 0, 1);
  CHECK(z.dtype() == DType::f32);
  CHECK(z.to_vector<float>() == w.to_vector<float>());
  CHECK(a.state() == b.state());
  CHECK_THROWS_WITH_AS(uniform({2}, a, 2, 1),
                       "uniform: low 2 and high 1 make no range; low must not be above high, and both finite",
                       Error);
  CHECK_THROWS_WITH_AS(normal({2}, a, 0, 1, DType::i32), "normal: dtype is i32; it must be floating", Error);
  CHECK(a.state() == b.state());  // a refused call draws nothing
}
