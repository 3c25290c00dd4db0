// Folders of runs: which one a new run takes, who may write to it, which one is resumed.
#include "tandem/tools/run/run_folder.h"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>

#include "tests/support/errors.h"
#include "tests/support/files.h"

namespace tandem::testing {
namespace fs = std::filesystem;

TEST_CASE("run folder: a new run takes the first free name, and what is unused is removed") {
  const TempDir folder;
  const fs::path runs = folder / "runs";
  {
    const RunFolder first = RunFolder::make_new(runs, "a-laptop"),
                    second = RunFolder::make_new(runs, "a-laptop");
    CHECK(first.path() == runs / "a-laptop");
    CHECK(second.path() == runs / "a-laptop-2");
    write_text(second.path() / kLastCheckpoint, "x");
    write_text(first.path() / kMetrics, "");
    write_text(first.path() / kRunFacts, "{}");  // a run that has done no step
  }
  CHECK(!fs::exists(runs / "a-laptop"));
  CHECK(fs::exists(runs / "a-laptop-2"));
  CHECK(RunFolder::make_new(runs, "a-laptop").path() == runs / "a-laptop");
}

TEST_CASE("run folder: the newest checkpoints of single steps stay, and what is no such checkpoint") {
  const TempDir folder;
  const auto keep = [&folder](int64_t step, int64_t count) {
    write_text(folder / kLastCheckpoint, std::to_string(step));
    keep_step_checkpoint(folder.path(), step, count);
  };
  for (const char* name :
       {"step-x.safetensors", "step-9.safetensors", "step-00000090.safetensors", "step-1.txt"})
    write_text(folder / name, "x");
  keep_step_checkpoint(folder.path(), 5, 2);  // there is no last checkpoint
  CHECK_FALSE(fs::exists(folder / "step-00000005.safetensors"));
  for (const int64_t step : {10, 20, 30, 30}) {
    keep(step, 2);
    fs::remove(folder / kLastCheckpoint);  // as the next checkpoint replaces it
  }
  CHECK(read_text(folder / "step-00000030.safetensors") == "30");
  CHECK(read_text(folder / "step-00000020.safetensors") == "20");
  for (const char* name :
       {"step-00000010.safetensors", "step-9.safetensors", "step-00000030.safetensors.tmp"})
    CHECK_FALSE(fs::exists(folder / name));
  // Those of later steps belong to a run that went on from another checkpoint.
  for (const char* name : {"step-x.safetensors", "step-1.txt", "step-00000090.safetensors"})
    CHECK(fs::exists(folder / name));
  keep(40, 0);
  CHECK_FALSE(fs::exists(folder / "step-00000040.safetensors"));
}

TEST_CASE("run folder: what cannot be listed is kept") {
  const TempDir folder;
  const fs::path run = folder / "run";
  const pid_t child = fork();
  if (child == 0) {
    {
      const RunFolder made = RunFolder::make(run);
      write_text(run / kMetrics, "{}\n");
      const rlimit none{0, 0};
      setrlimit(RLIMIT_NOFILE, &none);  // no file or folder can be opened from now on
    }
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  CHECK(read_text(run / kMetrics) == "{}\n");
}

TEST_CASE("run folder: a folder that another process writes to is refused, and the process is named") {
  const TempDir folder;
  const fs::path run = folder / "run";
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const RunFolder held = RunFolder::make(run);
    if (write(ready[1], "x", 1) == 1) pause();
    _exit(1);
  }
  char byte = 0;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  for (const std::string& message :
       {error_of([&] { RunFolder::make(run); }), error_of([&] { RunFolder::open_or_make(run); })}) {
    CHECK(contains(message, run.string()));
    CHECK(contains(message, "process " + std::to_string(child) + " on "));
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  CHECK(RunFolder::open_or_make(run).path() == run);
  close(ready[0]);
  close(ready[1]);
}

TEST_CASE("run folder: one that holds a run, and one whose name a file has, are refused") {
  const TempDir folder;
  fs::create_directory(folder / "run");
  write_text(folder / "run" / kLastCheckpoint, "x");
  CHECK(contains(error_of([&] { RunFolder::make(folder / "run"); }), "holds a run already"));
  write_text(folder / "file", "x");
  CHECK(contains(error_of([&] { RunFolder::make(folder / "file"); }), "cannot be made"));
}

TEST_CASE("run folder: the latest run is the one with the newest checkpoint, whatever its number") {
  const TempDir folder;
  CHECK(latest_run(folder / "none", "a").empty());
  const auto add = [&folder](const std::string& name, int minutes_ago) {
    fs::create_directory(folder / name);
    const fs::path last = folder / name / kLastCheckpoint;
    write_text(last, "x");
    fs::last_write_time(last, fs::file_time_type::clock::now() - std::chrono::minutes(minutes_ago));
  };
  add("a-laptop", 3);
  add("a-laptop-5", 1);  // after a gap
  add("a-laptop-3", 2);
  add("a-laptop-x", 0);  // another run's name
  add("a-laptop-", 0);
  fs::create_directory(folder / "a-laptop-9");  // without a checkpoint
  CHECK(latest_run(folder.path(), "a-laptop") == folder / "a-laptop-5");
}

}  // namespace tandem::testing
