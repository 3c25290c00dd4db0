// train --tensorboard: event files that hold the metrics of a run, also of one that was stopped and resumed.
#include <doctest/doctest.h>

#include "tests/support/errors.h"
#include "tests/support/event_reader.h"
#include "tests/support/train_process.h"

using namespace tandem;
using namespace tandem::testing;
namespace fs = std::filesystem;

namespace {

std::vector<fs::path> event_files(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("events.out.tfevents.")) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<std::string> run_of_20(const fs::path& text, const std::string& out,
                                   std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--steps=20", "--sample-every=5", "--sample-bytes=20"});
  return small_run(text, out, more);
}

}  // namespace

TEST_CASE(
    "train: --tensorboard writes the metrics, samples and histograms of a run, and changes none of its files") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, run_of_20(text, "plain")).code == 0);
  REQUIRE(run(folder, run_of_20(text, "run", {"--tensorboard"})).code == 0);
  check_same_files(folder / "plain", folder / "run");
  const std::vector<fs::path> files = event_files(folder / "run");
  REQUIRE(files.size() == 1);

  std::map<int64_t, Event> steps;  // what all events of a step say
  for (const Event& event : read_events(files[0].string())) {
    Event& all = steps[event.step];
    all.scalars.insert(event.scalars.begin(), event.scalars.end());
    all.texts.insert(event.texts.begin(), event.texts.end());
    all.histograms.insert(event.histograms.begin(), event.histograms.end());
  }
  std::ifstream in(folder / "run/metrics.jsonl");
  for (std::string line; std::getline(in, line);) {
    const nlohmann::json row = nlohmann::json::parse(line);
    const Event& event = steps.at(row["step"]);
    if (row.contains("loss")) {
      CHECK(event.scalars.at("train/loss") == row["loss"].get<float>());
      CHECK(event.scalars.at("train/lr") == row["lr"].get<float>());
    }
    if (row.contains("dev_nats")) CHECK(event.scalars.at("dev/nats") == row["dev_nats"].get<float>());
    if (row.contains("test_bpc")) CHECK(event.scalars.at("test/bpc") == row["test_bpc"].get<float>());
  }
  CHECK(steps.at(5).texts.contains("sample/on_the_way"));
  CHECK(steps.at(20).texts.contains("sample/end"));
  for (const int64_t step : {7, 14, 20}) {
    double squares = 0;
    int gradients = 0, weights = 0;
    for (const auto& [tag, histogram] : steps.at(step).histograms) {
      weights += tag.starts_with("weights/");
      if (!tag.starts_with("gradients/")) continue;
      ++gradients;
      squares += histogram.sum_of_squares;
    }
    CHECK(gradients > 5);
    CHECK(weights == gradients);
    // The gradients are those of this very step, before clipping.
    CHECK(std::sqrt(squares) ==
          doctest::Approx(steps.at(step).scalars.at("train/gradient_norm")).epsilon(1e-5));
  }
  CHECK(steps.at(8).histograms.empty());
}

TEST_CASE("train: --tensorboard of a resumed run begins a file whose session starts with the next step") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, run_of_20(text, "run", {"--tensorboard=boards/a", "--max-steps=9"})).code == 0);
  CHECK(event_files(folder / "run").empty());
  REQUIRE(run(folder, {text.string(), "--resume=run"}).code == 0);  // not asked for again
  CHECK(event_files(folder / "boards/a").size() == 1);
  REQUIRE(run(folder, run_of_20(text, "again", {"--tensorboard=boards/b", "--max-steps=9"})).code == 0);
  REQUIRE(run(folder, {text.string(), "--resume=again", "--tensorboard=boards/b"}).code == 0);
  const std::vector<fs::path> files = event_files(folder / "boards/b");
  REQUIRE(files.size() == 2);
  const std::vector<Event> first = read_events(files[0].string()), second = read_events(files[1].string());
  const bool ordered =
      first.at(1).step == 1;  // within one second names are ordered by the number of the process
  const std::vector<Event>&begun = ordered ? first : second, &resumed = ordered ? second : first;
  CHECK(begun.at(1).step == 1);
  CHECK(resumed.at(1).step == 10);
  CHECK(resumed.at(1).session_status == 1);
  for (const Event& event : begun)
    CHECK_FALSE(event.scalars.contains("test/bpc"));  // that of the stop is dropped
  CHECK(resumed.at(2).step == 10);
  CHECK(resumed.back().step == 20);
}

TEST_CASE("train: --tensorboard names a folder that cannot be made") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const ProcessResult refused =
      run(folder, run_of_20(text, "run", {"--tensorboard=" + text.string() + "/boards"}));
  CHECK(refused.code == 1);
  CHECK(contains(refused.output, "text.txt/boards: cannot be made"));
}
