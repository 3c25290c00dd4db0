// Learning rates against the golden ones, the recursion they come from, and bad settings.
#include "models/schedule.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numbers>
#include <string>

#include "tests/errors.h"
#include "tests/golden.h"

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

TEST_CASE("schedule: bad settings") {
  CHECK(refusal({.kind = "cos", .steps = 1}) ==
        "schedule: unknown kind \"cos\"; use cosine, linear or constant");
  CHECK(refusal({.lr = -1, .steps = 1}) ==
        "schedule: learning rate -1; it must be a finite number, 0 or more");
  CHECK(refusal({.lr = std::numeric_limits<double>::quiet_NaN(), .steps = 1}).find("learning rate") !=
        std::string::npos);
  CHECK(refusal({.warmup = -2, .steps = 1}) == "schedule: warm-up of -2 steps; use 0 for none");
  CHECK(refusal({.steps = 0}) == "schedule: cosine needs the number of steps, got 0");
  CHECK(refusal({.kind = "linear", .warmup = 9, .steps = 8}) ==
        "schedule: warm-up of 9 steps, but there are 8 in all; shorten it");
  CHECK_THROWS_WITH_AS(Schedule({.steps = 5}).lr(-1), "schedule: step -1; the first update is step 0", Error);
}

}  // namespace tandem::testing
