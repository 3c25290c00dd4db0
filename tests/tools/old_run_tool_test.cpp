// The programs go on with a run that version 0.1 wrote: train resumes it, evaluate and generate read its weights.
#include <doctest/doctest.h>

#include <filesystem>

#include "tests/support/golden.h"
#include "tests/support/old_run.h"
#include "tests/support/run_tool.h"

namespace tandem::testing {
namespace {

namespace fs = std::filesystem;

TEST_CASE("train: a run of version 0.1 resumes and ends with the numbers of the uninterrupted run") {
  const TempDir folder;
  fs::copy(golden_path("old_run"), folder.path());
  const ToolRun run =
      run_tool("train", {folder / "text.txt", "--resume=" + folder.path().string(), "--device=cpu"});
  CAPTURE(run.out);
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  const auto steps = read_steps(folder / "metrics.jsonl");
  const auto expected = read_steps(folder / "uninterrupted.jsonl");
  REQUIRE(steps.size() == 40);
  for (const auto& entry : expected) {  // clang 14 captures no structured bindings, which CAPTURE would need
    const auto number = entry.first;
    const auto& step = entry.second;
    CAPTURE(number);
    CHECK(steps.at(number).loss == doctest::Approx(step.loss).epsilon(kOldRunTolerance));
    CHECK(steps.at(number).gradient_norm == doctest::Approx(step.gradient_norm).epsilon(kOldRunTolerance));
  }
}

TEST_CASE("evaluate: the best weights of a run of version 0.1 score what they scored then") {
  const ToolRun run = run_tool("evaluate", {"--checkpoint=" + golden_path("old_run/best.safetensors"),
                                            "--corpus=" + golden_path("old_run/text.txt"), "--split=dev",
                                            "--batch-size=2", "--device=cpu", "--json"});
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  const nlohmann::json json = nlohmann::json::parse(run.out);
  CHECK(json["nats"].get<double>() == doctest::Approx(kOldRunDevNats).epsilon(kOldRunTolerance));
  CHECK(json["window"] == 32);
  CHECK(json["symbols"] == 298);
}

TEST_CASE("generate: the best weights of a run of version 0.1 continue a prompt") {
  const ToolRun run = run_tool("generate", {"--checkpoint=" + golden_path("old_run/best.safetensors"),
                                            "--prompt=the ", "--bytes=40", "--device=cpu"});
  CAPTURE(run.err);
  CHECK(run.exit_code == 0);
  CHECK(run.out.size() == 44);
  CHECK(run.out.starts_with("the "));
}

}  // namespace
}  // namespace tandem::testing
