// The search for a learning rate: what a curve suggests, and train --find-lr.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include "tandem/tools/run/rate_search.h"
#include "tests/support/errors.h"
#include "tests/support/train_process.h"

using namespace tandem;
using namespace tandem::testing;
namespace fs = std::filesystem;

namespace {

// Adds the losses of rates that rise from 1e-5 by a factor of 1.1 until the curve is over. Returns the number of rates.
int search(RateCurve& curve, const std::function<double(double)>& loss) {
  int count = 0;
  for (double lr = 1e-5; lr < 100 && !curve.is_over(); lr *= 1.1, ++count) curve.add(lr, loss(lr));
  return count;
}

}  // namespace

TEST_CASE("rate search: the suggestion lies between the steepest fall and the lowest loss") {
  RateCurve curve;
  // Falls from 5 to 2 around 1e-3, and rises again beyond 0.1.
  const int count = search(curve, [](double lr) { return 2 + 3 / (1 + lr / 1e-3) + 30 * lr * lr; });
  const auto found = curve.finding();
  REQUIRE(found);
  CHECK(found->steepest > 5e-4);
  CHECK(found->steepest < 5e-3);
  CHECK(found->lowest > 2e-2);
  CHECK(found->lowest < 0.3);
  CHECK(found->suggested == doctest::Approx(std::sqrt(found->steepest * found->lowest)));
  CHECK(count < 140);  // it ends before the rates do
}

TEST_CASE(
    "rate search: a loss that never falls suggests nothing, and one that is not finite ends the search") {
  RateCurve flat;
  CHECK(search(flat, [](double lr) { return 5 + 1e-3 * lr; }) > 160);
  CHECK_FALSE(flat.finding());
  RateCurve diverging;
  const int count = search(diverging, [](double lr) {
    return lr > 1e-2 ? std::numeric_limits<double>::quiet_NaN() : 5 - 300 * lr;
  });
  CHECK(count < 80);
  REQUIRE(diverging.finding());
  CHECK(diverging.finding()->lowest <= 1e-2);
  CHECK_FALSE(RateCurve().finding());
}

TEST_CASE("train: --find-lr raises the rate, suggests one, writes a page and keeps no model") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const ProcessResult found = run(folder, small_run(text, "search", {"--find-lr=150", "--lr=1e-2"}));
  CAPTURE(found.output);
  REQUIRE(found.code == 0);
  CHECK(contains(found.output, "suggested for the peak of a schedule: --lr="));
  CHECK_FALSE(contains(found.output, "test: "));
  double before = 0;
  nlohmann::json last;
  std::ifstream in(folder / "search/metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    last = nlohmann::json::parse(line);
    if (!last.contains("loss")) continue;
    const double lr = last["lr"];
    if (before == 0)
      CHECK(lr == doctest::Approx(1e-5));
    else
      CHECK(lr / before == doctest::Approx(std::pow(1e5, 1.0 / 149)));
    before = lr;
  }
  CHECK(last["end"] == "find_lr");
  CHECK(last["suggested_lr"].get<double>() > 1e-5);
  CHECK(last["suggested_lr"].get<double>() < 1);
  for (const auto& entry : fs::directory_iterator(folder / "search"))
    CHECK(entry.path().extension() != ".safetensors");
  if (fs::exists("/usr/bin/python3")) {
    CHECK(contains(found.output, "page: search/report.html"));
    CHECK(contains(read_text(folder / "search/report.html"), "looked for a learning rate: suggested is "));
  }

  std::vector<std::string> unnamed = small_run(text, "", {"--find-lr"});  // 200 steps, in a folder of its own
  unnamed.erase(unnamed.begin() + 1);
  REQUIRE(run(folder, unnamed).code == 0);
  CHECK(fs::exists(folder / "runs/text.txt-laptop-find-lr/metrics.jsonl"));
}

TEST_CASE("train: --find-lr with what it cannot be joined with is refused") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  CHECK(run(folder, small_run(text, "run", {"--find-lr=0"})).code == 2);
  CHECK(run(folder, small_run(text, "run", {"--find-lr=many"})).code == 2);
  const ProcessResult resumed = run(folder, {text.string(), "--resume=run", "--find-lr"});
  CHECK(resumed.code == 2);
  CHECK(contains(resumed.output, "--find-lr: it searches for the rate of a new run, not of --resume"));
}
