// A run of train has duties beside its steps: samples on the way, checkpoints of single steps, the early stop. Stopped and
// resumed, alone or on several ranks, it leaves the same files.
#include <doctest/doctest.h>

#include <cstdlib>
#include <set>

#include "tests/support/errors.h"
#include "tests/support/train_process.h"

using namespace tandem;
using namespace tandem::testing;
namespace fs = std::filesystem;

namespace {

// A short run with samples of 20 bytes.
std::vector<std::string> sampled_run(const fs::path& text, const std::string& out,
                                     std::vector<std::string> more = {}) {
  more.insert(more.begin(), "--sample-bytes=20");
  return short_run(text, out, more);
}

// A run that learns nothing, so that no evaluation is better than the first, at step 7.
std::vector<std::string> idle_run(const fs::path& text, const std::string& out,
                                  std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--lr=0", "--early-stop=2"});
  return sampled_run(text, out, more);
}

// Returns the rows of metrics.jsonl that have this field.
std::vector<nlohmann::json> rows_with(const fs::path& run_folder, const std::string& field) {
  std::vector<nlohmann::json> rows;
  for (const std::string& row : metrics_rows(run_folder)) {
    const nlohmann::json json = nlohmann::json::parse(row);
    if (json.contains(field)) rows.push_back(json);
  }
  return rows;
}

std::set<std::string> step_checkpoints(const fs::path& run_folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(run_folder)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("step-")) names.insert(name);
  }
  return names;
}

bool has_mpirun() {
  static const bool has = std::system("mpirun --version >/dev/null 2>&1") == 0;
  if (!has) MESSAGE("skipped: there is no mpirun here; Debian has it in openmpi-bin");
  return has;
}

}  // namespace

TEST_CASE(
    "train: samples are written every --sample-every steps and at the end, also of a run that was stopped") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const ProcessResult whole = run(folder, sampled_run(text, "whole", {"--sample-every=5"}));
  CAPTURE(whole.output);
  REQUIRE(whole.code == 0);
  const std::vector<nlohmann::json> samples = rows_with(folder / "whole", "sample");
  REQUIRE(samples.size() == 6);
  for (size_t i = 0; i < 6; ++i) {
    CHECK(samples[i]["step"] == 5 * (i + 1));
    CHECK(samples[i]["sample"].get<std::string>().size() == 20);
    CHECK(samples[i]["prompt"] == samples[0]["prompt"]);
    CHECK(samples[i].contains("weights_of_step") == (i == 5));
    CHECK(contains(whole.output, "sample at step " + std::to_string(5 * (i + 1)) + ": ["));
  }
  CHECK(samples[5]["weights_of_step"] == 30);

  // Between a sample and an evaluation, at a sample, at an evaluation.
  REQUIRE(run(folder, sampled_run(text, "parts", {"--sample-every=5", "--max-steps=3"})).code == 0);
  CHECK(rows_with(folder / "parts", "sample").at(0)["at_stop"] == true);
  for (const char* steps : {"--max-steps=10", "--max-steps=12", "--max-steps=21"})
    CHECK(run(folder, {text.string(), "--resume=parts", steps}).code == 0);
  CHECK(run(folder, {text.string(), "--resume=parts"}).code == 0);
  check_same_files(folder / "whole", folder / "parts");
  CHECK(run(folder, {text.string(), "--resume=parts"}).code == 0);  // it is done
  check_same_files(folder / "whole", folder / "parts");
}

TEST_CASE("train: without --sample-every there is a sample of the first evaluation and one of the end") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, sampled_run(text, "run", {"--max-steps=16"})).code == 0);
  const ProcessResult rest = run(folder, {text.string(), "--resume=run"});
  CAPTURE(rest.output);
  CHECK(rest.code == 0);
  const std::vector<nlohmann::json> samples = rows_with(folder / "run", "sample");
  REQUIRE(samples.size() == 2);
  CHECK(samples[0]["step"] == 7);
  CHECK(samples[0]["sample"].get<std::string>().size() == 120);
  CHECK(samples[1]["step"] == 30);
  CHECK(samples[1]["sample"].get<std::string>().size() == 20);
  REQUIRE(run(folder, sampled_run(text, "silent", {"--sample-bytes=0", "--sample-every=5"})).code == 0);
  CHECK(rows_with(folder / "silent", "sample").empty());
}

TEST_CASE("train: --sample-every of a resumed run replaces the one it began with") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, sampled_run(text, "run", {"--sample-every=5", "--max-steps=10"})).code == 0);
  REQUIRE(run(folder, {text.string(), "--resume=run", "--sample-every=8"}).code == 0);
  std::vector<int64_t> steps;
  for (const nlohmann::json& row : rows_with(folder / "run", "sample")) steps.push_back(row["step"]);
  CHECK(steps == std::vector<int64_t>{5, 10, 16, 24, 30});
}

TEST_CASE("train: --keep keeps the last checkpoints of single steps, and a run goes on from each") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, sampled_run(text, "whole", {"--keep=2"})).code == 0);
  CHECK(step_checkpoints(folder / "whole") ==
        std::set<std::string>{"step-00000028.safetensors", "step-00000030.safetensors"});
  CHECK(read_text(folder / "whole/step-00000030.safetensors") ==
        read_text(folder / "whole/last.safetensors"));

  REQUIRE(run(folder, sampled_run(text, "parts", {"--keep=2", "--max-steps=9"})).code == 0);
  CHECK(step_checkpoints(folder / "parts") == std::set<std::string>{"step-00000007.safetensors"});
  REQUIRE(run(folder, {text.string(), "--resume=parts", "--max-steps=21"}).code == 0);
  CHECK(step_checkpoints(folder / "parts") ==
        std::set<std::string>{"step-00000014.safetensors", "step-00000021.safetensors"});
  REQUIRE(run(folder, {text.string(), "--resume=parts/step-00000014.safetensors", "--out=fork"}).code == 0);
  REQUIRE(run(folder, {text.string(), "--resume=parts", "--keep=3"}).code == 0);
  CHECK(step_checkpoints(folder / "parts") == std::set<std::string>{"step-00000021.safetensors",
                                                                    "step-00000028.safetensors",
                                                                    "step-00000030.safetensors"});
  check_same_files(folder / "whole", folder / "fork");
}

TEST_CASE("train: --early-stop ends a run whose evaluations get no better, and scores its best weights") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const ProcessResult whole = run(folder, idle_run(text, "whole"));
  CAPTURE(whole.output);
  REQUIRE(whole.code == 0);
  CHECK(
      contains(whole.output,
               "stopping early at step 21 of 30: the last 2 evaluations were no better than that of step 7"));
  CHECK(contains(whole.output, "test: "));
  CHECK(losses(folder / "whole").size() == 21);
  const std::vector<nlohmann::json> ends = rows_with(folder / "whole", "end");
  REQUIRE(ends.size() == 3);  // why, the last sample, the test score
  CHECK(ends[0] == nlohmann::json{{"step", 21}, {"end", "early_stop"}, {"evaluations", 2}, {"best_step", 7}});
  CHECK(ends[1]["weights_of_step"] == 7);
  CHECK(ends[2].contains("test_nats"));
  CHECK(rows_with(folder / "whole", "at_stop").empty());

  SUBCASE("a run that was stopped on the way ends with the same files") {
    REQUIRE(run(folder, idle_run(text, "parts", {"--max-steps=3"})).code == 0);
    for (const char* steps : {"--max-steps=7", "--max-steps=16", "--max-steps=20"})
      REQUIRE(run(folder, {text.string(), "--resume=parts", steps}).code == 0);
    REQUIRE(run(folder, {text.string(), "--resume=parts"}).code == 0);
    check_same_files(folder / "whole", folder / "parts");
  }
  SUBCASE("a run that stopped early stays as it is, until it is given more patience") {
    const std::string metrics = read_text(folder / "whole/metrics.jsonl");
    const ProcessResult again = run(folder, {text.string(), "--resume=whole"});
    CAPTURE(again.output);
    CHECK(again.code == 0);
    CHECK(contains(again.output, "the run is done: it stopped early, after 21 steps"));
    CHECK(read_text(folder / "whole/metrics.jsonl") == metrics);
    REQUIRE(run(folder, idle_run(text, "patient", {"--early-stop=3"})).code == 0);
    REQUIRE(run(folder, {text.string(), "--resume=whole", "--early-stop=3"}).code == 0);
    CHECK(losses(folder / "whole").size() == 28);
    // The best weights are from before, and so is the patience that they name.
    CHECK(read_text(folder / "whole/last.safetensors") == read_text(folder / "patient/last.safetensors"));
    CHECK(metrics_rows(folder / "whole") == metrics_rows(folder / "patient"));
    REQUIRE(run(folder, {text.string(), "--resume=whole", "--early-stop=0"}).code == 0);
    CHECK(losses(folder / "whole").size() == 30);
    CHECK(rows_with(folder / "whole", "end").empty());
  }
  SUBCASE("ranks stop after the same step") {
    if (!has_mpirun()) return;
    const std::vector<std::string> shards = {"--shards=2", "--sample-every=5", "--keep=1", "--device=cpu"};
    REQUIRE(run(folder, idle_run(text, "alone", shards)).code == 0);
    std::vector<std::string> two = shards;
    two.push_back("--ranks=2");
    REQUIRE(run(folder, idle_run(text, "ranks", two)).code == 0);
    check_same_files(folder / "alone", folder / "ranks");
    CHECK(step_checkpoints(folder / "ranks") == std::set<std::string>{"step-00000021.safetensors"});
    two.push_back("--max-steps=16");
    REQUIRE(run(folder, idle_run(text, "parts", two)).code == 0);
    REQUIRE(run(folder, {text.string(), "--resume=parts", "--ranks=2", "--device=cpu"}).code == 0);
    check_same_files(folder / "alone", folder / "parts");
  }
}

TEST_CASE("train: a run that gets better does not stop early") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, sampled_run(text, "run", {"--early-stop=1"})).code == 0);
  CHECK(losses(folder / "run").size() == 30);
  CHECK(rows_with(folder / "run", "end").empty());
}

TEST_CASE("train: what --early-stop, --keep and --sample-every cannot mean is refused") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  for (const char* flag : {"--early-stop", "--keep", "--sample-every"}) {
    const ProcessResult negative = run(folder, sampled_run(text, "run", {std::string(flag) + "=-1"}));
    CHECK(negative.code == 2);
    CHECK(contains(negative.output, "-1: it must be 0 or above"));
    CHECK(run(folder, sampled_run(text, "run", {std::string(flag) + "=two"})).code == 2);
  }
  const ProcessResult no_dev =
      run(folder, sampled_run(text, "run", {"--early-stop=2", "--valid-fraction=0"}));
  CHECK(no_dev.code == 1);
  CHECK(contains(no_dev.output, "early stop: there is no dev split"));
}

TEST_CASE("train: run.json tells how a run was begun and resumed, and what it is") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, sampled_run(text, "run", {"--max-steps=9"})).code == 0);
  REQUIRE(run(folder, {text.string(), "--resume=run"}).code == 0);
  const nlohmann::json facts = nlohmann::json::parse(read_text(folder / "run/run.json"));
  REQUIRE(facts["starts"].size() == 2);
  CHECK(facts["starts"][0]["step"] == 0);
  CHECK(facts["starts"][1]["step"] == 9);
  CHECK(facts["starts"][1]["command"] == nlohmann::json{"train", text.string(), "--resume=run"});
  CHECK(facts["config"]["recipe"]["steps"] == 30);
  CHECK(facts["config"]["model"]["d"] == 32);
  CHECK(facts["parameters"] > 1000);
  CHECK(facts["flops_per_token"] > facts["parameters"]);
  // Whatever stands there, a run goes on.
  write_text(folder / "run/run.json", "{\"starts\": 5");
  CHECK(run(folder, {text.string(), "--resume=run", "--out=other"}).code == 0);
  CHECK(nlohmann::json::parse(read_text(folder / "other/run.json"))["starts"].size() == 1);
}
