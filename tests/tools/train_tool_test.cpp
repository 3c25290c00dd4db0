// The train program as a user runs it: a whole small run, kills at random moments, resuming, signals, exit
// codes.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tandem/core/random.h"
#include "tandem/models/training/checkpoint.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/paths.h"
#include "tests/support/run_tool.h"
#include "tests/support/train_process.h"

using namespace tandem;
using namespace tandem::testing;
namespace fs = std::filesystem;

TEST_CASE("train: a run to the end, and the same run killed again and again and resumed") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const ProcessResult whole = run(folder, small_run(text, "whole"));
  CAPTURE(whole.output);
  REQUIRE(whole.code == 0);
  for (const char* part : {"device: cpu", "parameters", "corpus: ", "step ", "ETA", "bpc",
                           "dev: ", "test: ", "sample at step", "checkpoint: whole/best.safetensors"})
    CHECK(contains(whole.output, part));
  const auto expected = losses(folder / "whole");
  REQUIRE(expected.size() == 120);

  Random random(static_cast<uint64_t>(getpid()));
  const fs::path last = folder / "killed" / "last.safetensors";
  int code = -1;
  for (int attempt = 0; attempt < 200 && code != 0; ++attempt) {
    const bool resume = fs::exists(last);
    const Process process =
        start(folder, resume ? std::vector<std::string>{text.string(), "--resume=killed", "--sample-bytes=0"}
                             : small_run(text, "killed", {}));
    // The first attempts are killed at random moments; the last may finish.
    if (attempt < 12) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20 + random.below(250)));
      kill(process.pid, SIGKILL);
    }
    code = process.wait();
    if (fs::exists(last)) CHECK_NOTHROW(load_checkpoint(last.string()));  // complete, whenever the kill came
  }
  REQUIRE(code == 0);
  CHECK(losses(folder / "killed") == expected);
  for (const char* name : {"last.safetensors", "best.safetensors"}) {
    const Checkpoint a = load_checkpoint((folder / "whole" / name).string());
    const Checkpoint b = load_checkpoint((folder / "killed" / name).string());
    REQUIRE(a.parameters.size() == b.parameters.size());
    for (size_t i = 0; i < a.parameters.size(); ++i)
      CHECK(a.parameters[i].value.to_vector<float>() == b.parameters[i].value.to_vector<float>());
  }
}

TEST_CASE("train: SIGTERM writes a checkpoint of the current step, and resuming continues from it") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const auto arguments = small_run(text, "run", {"--steps=100000", "--eval-every=100000"});
  const Process process = start(folder, arguments);
  const fs::path metrics = folder / "run" / "metrics.jsonl";
  for (int i = 0; i < 1000 && (!fs::exists(metrics) || fs::file_size(metrics) == 0); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  kill(process.pid, SIGTERM);
  CHECK(process.wait() == 3);
  CHECK(contains(read_text(process.output), "--resume goes on from run/last.safetensors"));
  const auto before = losses(folder / "run");
  REQUIRE(!before.empty());
  const int64_t reached = before.rbegin()->first;
  const std::string limit = "--max-steps=" + std::to_string(reached + 5);
  const ProcessResult resumed = run(folder, {text.string(), "--resume=run", limit});
  CAPTURE(resumed.output);
  CHECK(resumed.code == 0);
  CHECK(losses(folder / "run").rbegin()->first == reached + 5);
}

TEST_CASE("train: --max-steps and --max-time stop a run, and no run is overwritten") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  CHECK(run(folder, small_run(text, "run", {"--max-steps=3"})).code == 0);
  CHECK(losses(folder / "run").size() == 3);
  const ProcessResult again = run(folder, small_run(text, "run"));
  CHECK(again.code == 1);
  CHECK(contains(again.output, "holds a run already"));
  const ProcessResult timed =
      run(folder, small_run(text, "timed", {"--steps=100000", "--max-time=1s", "--eval-every=100000"}));
  CHECK(timed.code == 0);
  CHECK(contains(timed.output, "--max-time is over"));
  CHECK(contains(timed.output, "test: "));
  const ProcessResult changed = run(folder, {text.string(), "--resume=run", "--lr=1"});
  CHECK(changed.code == 2);
  CHECK(contains(changed.output, "--lr was settled when the run began"));
  const ProcessResult other_preset = run(folder, {text.string(), "--resume=run", "--preset=base"});
  CHECK(other_preset.code == 1);
  CHECK(contains(other_preset.output, "the run has preset laptop, not base"));
  // --resume takes a checkpoint file, and --preset if it is the preset of the run.
  const ProcessResult by_file =
      run(folder, {text.string(), "--resume=run/last.safetensors", "--preset=laptop", "--max-steps=4"});
  CHECK(by_file.code == 0);
  CHECK(losses(folder / "run").size() == 4);
  std::ofstream(text, std::ios::app) << "more";
  const ProcessResult other_text = run(folder, {text.string(), "--resume=run"});
  CHECK(other_text.code == 1);
  CHECK(contains(other_text.output, "sha256"));
}

TEST_CASE("train: wrong usage exits 2, failure exits 1, each with one message") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  CHECK(run(folder, {}).code == 2);
  CHECK(run(folder, {"--help"}).code == 0);
  CHECK(run(folder, {text.string(), "--no-such-flag"}).code == 2);
  CHECK(run(folder, {text.string(), "--precision=f8"}).code == 2);
  const ProcessResult time = run(folder, {text.string(), "--max-time=soon"});
  CHECK(time.code == 2);
  CHECK(contains(time.output, "soon is not a time"));
  const ProcessResult unknown = run(folder, {"no-such-corpus"});
  CHECK(unknown.code == 1);
  CHECK(contains(unknown.output, "gcide"));
  CHECK(contains(run(folder, {text.string(), "--preset=huge"}).output, "huge is not known"));
  const ProcessResult cuda = run(folder, {text.string(), "--device=cuda"});
  CHECK(cuda.code == 1);
  CHECK(contains(cuda.output, "error: --device=cuda: no "));
  const ProcessResult offline =
      run(folder, {"enwik8", "--url=file:///no/such/file.zip", "--data-dir=" + folder.path().string()});
  CHECK(offline.code == 1);
  CHECK(contains(offline.output, "file:///no/such/file.zip"));
  CHECK(contains(offline.output, "--url=file:///path/to/enwik8.zip"));
  CHECK(contains(offline.output, "train gcide"));
}

TEST_CASE("train: settings that evaluations refuse are refused before the first step") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  for (const char* flag :
       {"--eval-window=0", "--eval-batch-size=0", "--eval-batch-size=100000", "--eval-bytes=1"}) {
    const ProcessResult result = run(folder, small_run(text, std::string("run") + flag, {flag}));
    CHECK(result.code == 1);
    CHECK(!contains(result.output, "step "));
  }
}

TEST_CASE("train: a diverging run stops and names the operator") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const ProcessResult result =
      run(folder, small_run(text, "run", {"--lr=1e20", "--warmup=0", "--max-skipped=4"}));
  CAPTURE(result.output);
  CHECK(result.code == 1);
  CHECK(contains(result.output, "4 steps in a row were not finite"));
  CHECK(contains(result.output, "skipped"));

  const ProcessResult checked =
      run(folder, small_run(text, "checked", {"--lr=1e20", "--warmup=0", "--check-nan"}));
  CAPTURE(checked.output);
  CHECK(checked.code == 1);
  CHECK(contains(checked.output, "not finite"));
  CHECK(checked.output.find("skipped") == std::string::npos);
}

TEST_CASE("train: weights that are not finite are not saved, and a run without a finite score says so") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  // The first update already overflows; every step after it is skipped.
  const ProcessResult result =
      run(folder, small_run(text, "run",
                            {"--lr=1e38", "--warmup=0", "--weight-decay=1e30", "--optimizer=adamw",
                             "--max-skipped=1000000", "--steps=20", "--eval-every=5"}));
  CAPTURE(result.output);
  CHECK(result.code == 1);
  CHECK(contains(result.output, "the weights have diverged and are not saved"));
  CHECK(!fs::exists(folder / "run" / "last.safetensors"));
  CHECK(!fs::exists(folder / "run" / "best.safetensors"));
}

TEST_CASE("train: fields of --set that the run decides are refused") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  for (const char* set : {"--set=vocabulary=5", "--set=model=sru", "--set=layers=", "--set=layers"}) {
    const ProcessResult result = run(folder, small_run(text, "run", {set}));
    CAPTURE(result.output);
    CHECK(result.code == 2);
  }
}

TEST_CASE("train, evaluate, quantize: names that are not UTF-8 work as any other") {
  const TempDir folder;
  const fs::path text = folder / "caf\xe9.txt";
  fs::rename(write_sample(folder), text);
  const auto arguments = [&text](const std::string& out) {
    return small_run(text, out, {"--steps=12", "--sample-bytes=0"});
  };
  REQUIRE(run(folder, arguments("r\xfcn")).code == 0);
  std::vector<std::string> unnamed = arguments("");
  unnamed.erase(unnamed.begin() + 1);
  REQUIRE(run(folder, unnamed).code == 0);
  CHECK(fs::exists(folder / "runs" / "caf\xe9.txt-laptop" / "last.safetensors"));
  const ProcessResult resumed = run(folder, {text.string(), "--resume=r\xfcn"});
  CAPTURE(resumed.output);
  CHECK(resumed.code == 0);
  const std::string best = (folder / "r\xfcn" / "best.safetensors").string();
  const ToolRun scored =
      run_tool("evaluate", {"--checkpoint=" + best, "--corpus=" + text.string(), "--json"});
  REQUIRE(scored.exit_code == 0);
  const std::string named = nlohmann::json::parse(scored.out)["corpus"];
  CHECK(contains(named, "caf\\xe9.txt"));
  // Without --corpus: the run's text is found by the name in the checkpoint.
  CHECK(run_tool("quantize", {best, "--out=" + (folder / "q\xe9").string()}).exit_code == 0);
  CHECK(run_tool("prune", {best, "--out=" + (folder / "p\xe9").string(), "--sparsity=50"}).exit_code == 0);
}

TEST_CASE("train: numbers of threads and times that nobody can mean are refused") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  for (const char* count : {"abc", "", "0", "-5", "100000", "2,x"}) {
    setenv("OMP_NUM_THREADS", count, 1);
    const ProcessResult result = run(folder, small_run(text, "run"));
    CAPTURE(count);
    CHECK(result.code == 2);
    CHECK(contains(result.output, "OMP_NUM_THREADS is '"));
  }
  setenv("OMP_NUM_THREADS", "2,1", 1);
  CHECK(run(folder, small_run(text, "run", {"--max-steps=1"})).code == 0);
  setenv("OMP_NUM_THREADS", "2", 1);
  for (const char* time : {"inf", "0x10", " 9s", "-1s", "0", "1e999h", "5d"})
    CHECK(run(folder, small_run(text, "timed", {std::string("--max-time=") + time})).code == 2);
}
