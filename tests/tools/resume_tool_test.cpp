// Resuming with the train program: a run that was stopped and resumed leaves the files of one that never stopped, and
// no run writes over another.
#include <doctest/doctest.h>

#include "tests/support/errors.h"
#include "tests/support/train_process.h"

using namespace tandem;
using namespace tandem::testing;
namespace fs = std::filesystem;

TEST_CASE("train: a run that --max-steps or --max-time stopped ends with the files of an uninterrupted one") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, short_run(text, "whole")).code == 0);
  // Before the first evaluation, at one, after one; each stop scores what it has and leaves no trace of it.
  const ProcessResult stopped = run(folder, short_run(text, "stopped", {"--max-steps=3"}));
  CAPTURE(stopped.output);
  CHECK(stopped.code == 0);
  for (const char* part : {"dev: ", "test: ", "checkpoint: stopped/last.safetensors"})
    CHECK(contains(stopped.output, part));
  for (const char* steps : {"--max-steps=7", "--max-steps=17", "--max-steps=28"})
    CHECK(run(folder, {text.string(), "--resume=stopped", "--sample-bytes=0", steps}).code == 0);
  const ProcessResult rest = run(folder, {text.string(), "--resume=stopped", "--sample-bytes=0"});
  CAPTURE(rest.output);
  CHECK(rest.code == 0);
  check_same_files(folder / "whole", folder / "stopped");
}

TEST_CASE("train: resuming a run that is done changes nothing") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, short_run(text, "run")).code == 0);
  const std::string metrics = read_text(folder / "run/metrics.jsonl"),
                    last = read_text(folder / "run/last.safetensors");
  const ProcessResult again = run(folder, {text.string(), "--resume=run"});
  CAPTURE(again.output);
  CHECK(again.code == 0);
  CHECK(contains(again.output, "the run is done: all 30 steps"));
  CHECK(read_text(folder / "run/metrics.jsonl") == metrics);
  CHECK(read_text(folder / "run/last.safetensors") == last);
}

TEST_CASE("train: the command of a run goes on when --resume is added to it") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, short_run(text, "whole")).code == 0);
  REQUIRE(run(folder, short_run(text, "run", {"--max-steps=9"})).code == 0);
  REQUIRE(run(folder, short_run(text, "newer", {"--max-steps=9"})).code == 0);
  CHECK(run(folder, {text.string(), "--out=run", "--resume", "--sample-bytes=0"}).code == 0);
  check_same_files(folder / "whole", folder / "run");
  const ProcessResult none = run(folder, {text.string(), "--out=empty", "--resume"});
  CHECK(none.code == 1);
  CHECK(contains(none.output, "there is no file empty"));
  CHECK(!fs::exists(folder / "empty"));
}

TEST_CASE("train: --no-test holds for the resumed run, too") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  CHECK(run(folder, short_run(text, "run", {"--no-test", "--max-steps=9"})).code == 0);
  const ProcessResult rest = run(folder, {text.string(), "--resume=run", "--sample-bytes=0"});
  CHECK(rest.code == 0);
  CHECK(!contains(rest.output, "test: "));
  CHECK(!contains(read_text(folder / "run/metrics.jsonl"), "test_nats"));
}

TEST_CASE("train: a folder copied without its best weights and metrics says so, and ends") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, short_run(text, "run", {"--max-steps=16"})).code == 0);
  fs::create_directory(folder / "copy");
  fs::copy_file(folder / "run/last.safetensors", folder / "copy/last.safetensors");
  const ProcessResult rest = run(folder, {text.string(), "--resume=copy", "--sample-bytes=0"});
  CAPTURE(rest.output);
  CHECK(rest.code == 0);
  CHECK(contains(rest.output, "best.safetensors with the weights of step 14 is missing"));
  CHECK(contains(rest.output, "metrics.jsonl has no rows of the steps 1 to 16"));
  CHECK(contains(rest.output, "test: "));
}

TEST_CASE("train: an older checkpoint goes on in a folder of its own, never over the later one") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, short_run(text, "whole")).code == 0);
  REQUIRE(run(folder, short_run(text, "run", {"--max-steps=9"})).code == 0);
  fs::copy_file(folder / "run/last.safetensors", folder / "run/step-9.safetensors");
  REQUIRE(run(folder, {text.string(), "--resume=run", "--sample-bytes=0", "--max-steps=20"}).code == 0);
  const std::string last = read_text(folder / "run/last.safetensors"),
                    metrics = read_text(folder / "run/metrics.jsonl");

  const ProcessResult refused = run(folder, {text.string(), "--resume=run/step-9.safetensors"});
  CHECK(refused.code == 1);
  CHECK(contains(refused.output, "--out=FOLDER to go on from step-9.safetensors in a folder of its own"));
  const ProcessResult fork =
      run(folder, {text.string(), "--resume=run/step-9.safetensors", "--out=fork", "--sample-bytes=0"});
  CAPTURE(fork.output);
  CHECK(fork.code == 0);
  check_same_files(folder / "whole", folder / "fork");

  const ProcessResult other = run(folder, {text.string(), "--resume=run", "--out=other", "--sample-bytes=0"});
  CHECK(other.code == 0);
  check_same_files(folder / "whole", folder / "other");
  CHECK(read_text(folder / "run/last.safetensors") == last);
  CHECK(read_text(folder / "run/metrics.jsonl") == metrics);
  const ProcessResult over = run(folder, {text.string(), "--resume=run", "--out=fork"});
  CHECK(over.code == 1);
  CHECK(contains(over.output, "fork holds a run already"));
  CHECK(run(folder, {text.string(), "--resume=nowhere"}).code == 1);
  CHECK(!fs::exists(folder / "nowhere"));
}

TEST_CASE("train: two at once get two folders, and one folder is written by one") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  std::vector<std::string> anywhere = short_run(text, "whole");
  REQUIRE(run(folder, anywhere).code == 0);
  anywhere.erase(anywhere.begin() + 1);  // --out
  const Process first = start(folder, anywhere), second = start(folder, anywhere);
  CHECK(first.wait() == 0);
  CHECK(second.wait() == 0);
  for (const char* name : {"runs/text.txt-laptop", "runs/text.txt-laptop-2"})
    check_same_files(folder / "whole", folder / name);

  const Process owner = start(folder, small_run(text, "run", {"--steps=100000"}));
  wait_for_first_step(folder / "run");
  const std::string named = "process " + std::to_string(owner.pid) + " on ";
  for (const ProcessResult& refused :
       {run(folder, small_run(text, "run")), run(folder, {text.string(), "--resume=run"})}) {
    CAPTURE(refused.output);
    CHECK(refused.code == 1);
    CHECK((contains(refused.output, named) || contains(refused.output, "there is no file")));
  }
  kill(owner.pid, SIGTERM);
  CHECK(owner.wait() == 3);
  const Process resumed = start(folder, {text.string(), "--resume=run"});
  const std::string holder = "process " + std::to_string(resumed.pid) + " on ";
  for (int i = 0; i < 3000 && read_text(folder / "run/run.lock").find(holder) == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const ProcessResult twice = run(folder, {text.string(), "--resume=run"});
  CHECK(twice.code == 1);
  CHECK(contains(twice.output, holder));
  kill(resumed.pid, SIGKILL);
  resumed.wait();
}
