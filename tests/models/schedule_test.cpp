// Compares learning rates with golden ones and with PyTorch's recursion; bad settings.
#include "tandem/models/training/schedule.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numbers>
#include <string>

#include "tests/support/errors.h"
#include "tests/support/golden.h"

namespace tandem::testing {
namespace {

std::string refusal(const ScheduleConfig& config) {
  return error_of([&config] { Schedule schedule(config); });
}

}  // namespace

TEST_CASE("schedule: the golden rates") {
  const auto expected = golden_json("ops/expected.json").at("lr_schedule");
  int compared = 0;
  for (const auto& run : expected) {
    const Schedule schedule({.lr = run.at("lr").get<double>(),
                             .warmup = run.at("warmup_steps").get<int64_t>(),
                             .steps = run.at("max_iter").get<int64_t>()});
    for (const auto& used : run.at("lr_used_at_step").items()) {
      CAPTURE(used.key());
      CHECK(std::abs(schedule.lr(std::stoll(used.key())) - used.value().get<double>()) <
            1e-12 * schedule.config().lr);
      ++compared;
    }
    for (const auto& [step, lr] : run.at("closed_form_at_step").items())
      CHECK(std::abs(schedule.lr(std::stoll(step)) - lr.get<double>()) < 1e-14 * schedule.config().lr);
  }
  CHECK(compared >= 14);
}

TEST_CASE("schedule: the closed form is the recursion of PyTorch") {
  for (const int64_t warmup : {0, 1, 2, 40}) {
    const int64_t steps = 300;
    const Schedule schedule({.lr = 2e-3, .warmup = warmup, .steps = steps});
    const auto cosine = [](int64_t n) {
      return 1 + std::cos(std::numbers::pi * static_cast<double>(n) / 300);
    };
    double rate = 0;
    for (int64_t n = 0; n < steps; ++n) {
      if (n < warmup)
        rate = 2e-3 * static_cast<double>(n + 1) / static_cast<double>(warmup);
      else
        rate = n == 0 ? 2e-3 : rate * cosine(n) / cosine(n - 1);
      CHECK(schedule.lr(n) == doctest::Approx(rate).epsilon(1e-11));
    }
    CHECK(schedule.lr(steps) == 0);
    CHECK(schedule.lr(10 * steps) == 0);
  }
}

TEST_CASE("schedule: linear and constant") {
  const Schedule linear({.kind = "linear", .lr = 1, .warmup = 4, .steps = 12});
  CHECK(linear.lr(0) == 0.25);
  CHECK(linear.lr(3) == 1);
  CHECK(linear.lr(4) == 1);
  CHECK(linear.lr(8) == 0.5);
  CHECK(linear.lr(11) == 0.125);
  CHECK(linear.lr(12) == 0);
  const Schedule constant({.kind = "constant", .lr = 0.5, .warmup = 2});
  CHECK(constant.lr(0) == 0.25);
  CHECK(constant.lr(1) == 0.5);
  CHECK(constant.lr(1'000'000) == 0.5);
  const Schedule all_warmup({.kind = "linear", .lr = 1, .warmup = 5, .steps = 5});
  CHECK(all_warmup.lr(4) == 1);
  CHECK(all_warmup.lr(5) == 0);
}

TEST_CASE("schedule: exponential rises from its floor to its rate by one factor a step") {
  const Schedule schedule({.kind = "exponential", .lr = 1, .floor = 1e-6, .steps = 7});
  for (int64_t n = 0; n < 7; ++n)
    CHECK(schedule.lr(n) == doctest::Approx(std::pow(10.0, static_cast<double>(n - 6))).epsilon(1e-12));
  CHECK(schedule.lr(7) == 0);
  CHECK(Schedule({.kind = "exponential", .lr = 1, .floor = 0.5, .steps = 1}).lr(0) == 1);
}

TEST_CASE("schedule: rsqrt falls from its peak, and noam is rsqrt with a peak of its own") {
  const Schedule rsqrt({.kind = "rsqrt", .lr = 0.5, .warmup = 4});
  CHECK(rsqrt.lr(0) == 0.125);
  CHECK(rsqrt.lr(3) == 0.5);
  CHECK(rsqrt.lr(15) == 0.25);
  CHECK(rsqrt.lr(4 * 1'000'000 - 1) == doctest::Approx(0.5e-3).epsilon(1e-12));
  const Schedule noam({.kind = "noam", .lr = 3, .warmup = 100, .width = 64});
  for (const int64_t n : {1, 2, 99, 100, 101, 5000}) {
    const double x = static_cast<double>(n);
    const double rate = 3 * std::pow(64.0, -0.5) * std::min(std::pow(x, -0.5), x * std::pow(100.0, -1.5));
    CHECK(noam.lr(n - 1) == doctest::Approx(rate).epsilon(1e-12));
  }
}

TEST_CASE("schedule: cosine cycles are those of fairseq") {
  // fairseq's formula: min + (max - min) (1 + cos(pi t_curr / t_i)) / 2, with i from a logarithm.
  const double growth = 2, shrink = 0.75, period = 40, top = 1, bottom = 1e-2;
  const Schedule schedule({.kind = "cosine-cycles",
                           .lr = top,
                           .floor = bottom,
                           .warmup = 10,
                           .steps = 1000,
                           .cycle = 40,
                           .cycle_growth = growth,
                           .cycle_shrink = shrink});
  CHECK(schedule.lr(0) == 0.1);
  CHECK(schedule.lr(9) == 1);
  for (int64_t n = 10; n < 1000; ++n) {
    const double t = static_cast<double>(n - 10);
    const double i = std::floor(std::log2(1 - t / period * (1 - growth)));
    const double t_curr = t - (1 - std::pow(growth, i)) / (1 - growth) * period;
    const double share = std::pow(shrink, i);
    const double rate =
        share * bottom + 0.5 * share * (top - bottom) *
                             (1 + std::cos(std::numbers::pi * t_curr / std::pow(growth, i) / period));
    CHECK(schedule.lr(n) == doctest::Approx(rate).epsilon(1e-12));
  }
  CHECK(schedule.lr(1000) == 0);
  // By default one cycle, down to the floor.
  const Schedule one({.kind = "cosine-cycles", .lr = 2, .floor = 1, .warmup = 2, .steps = 12});
  CHECK(one.lr(2) == 2);
  CHECK(one.lr(7) == doctest::Approx(1.5).epsilon(1e-14));
  CHECK(one.lr(11) == doctest::Approx(1 + (1 + std::cos(0.9 * std::numbers::pi)) / 2).epsilon(1e-14));
}

TEST_CASE("schedule: bad settings") {
  CHECK(refusal({.kind = "cos", .steps = 1}) ==
        "schedule: unknown kind \"cos\"; use cosine, cosine-cycles, linear, exponential, rsqrt, noam, "
        "constant");
  CHECK(refusal({.lr = -1, .steps = 1}) ==
        "schedule: learning rate -1; it must be a finite number, 0 or more");
  CHECK(refusal({.lr = std::numeric_limits<double>::quiet_NaN(), .steps = 1}).find("learning rate") !=
        std::string::npos);
  CHECK(refusal({.warmup = -2, .steps = 1}) == "schedule: warm-up of -2 steps; use 0 for none");
  CHECK(refusal({.steps = 0}) == "schedule: cosine needs the number of steps, got 0");
  CHECK(refusal({.kind = "linear", .warmup = 9, .steps = 8}) ==
        "schedule: warm-up of 9 steps, but there are 8 in all; shorten it");
  CHECK(refusal({.kind = "rsqrt"}) ==
        "schedule: rsqrt falls from the end of the warm-up on and needs one, got 0 steps");
  CHECK(refusal({.kind = "noam", .warmup = 5}) == "schedule: noam needs the model's width, got 0");
  for (const ScheduleConfig& config :
       {ScheduleConfig{.kind = "exponential", .lr = 1, .steps = 9},
        ScheduleConfig{.kind = "exponential", .lr = 1, .floor = 0.5, .warmup = 2, .steps = 9}})
    CHECK(contains(refusal(config), "schedule: exponential rises from the floor"));
  CHECK(refusal({.kind = "cosine-cycles", .lr = 1, .floor = 2, .steps = 9}) ==
        "schedule: the floor 2 must be between 0 and the rate 1");
  CHECK(refusal({.kind = "cosine-cycles", .steps = 9, .cycle_shrink = 2}) ==
        "schedule: a cycle of 0 steps, each next one 1 times as long and with 2 of "
        "the rate; give 0 or more, 1 or more, and a factor in (0, 1]");
  CHECK_THROWS_WITH_AS(Schedule({.steps = 5}).lr(-1), "schedule: step -1; the first update is step 0", Error);
}

}  // namespace tandem::testing
