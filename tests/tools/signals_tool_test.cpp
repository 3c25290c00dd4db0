// Signals to the train program, and what becomes of its output: nothing is lost, and the exit code tells.
#include <doctest/doctest.h>

#include "tests/support/errors.h"
#include "tests/support/run_tool.h"
#include "tests/support/train_process.h"

using namespace tandem;
using namespace tandem::testing;
namespace fs = std::filesystem;

namespace {

// A run that takes a few tenths of a second, long enough for a signal to meet it.
std::vector<std::string> quick_run(const fs::path& text, const std::string& out) {
  return small_run(text, out, {"--steps=600", "--eval-every=250", "--sample-bytes=0"});
}

void pause_ms(int64_t ms) {
  std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

}  // namespace

TEST_CASE(
    "train: any signal that asks for the end stops a run with exit code 3, and resuming equals no stop") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, quick_run(text, "whole")).code == 0);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGUSR1}) {
    CAPTURE(signal);
    const std::string name = "run" + std::to_string(signal);
    const Process process = start(folder, quick_run(text, name));
    wait_for_first_step(folder / name);
    kill(process.pid, signal);
    const int code = process.wait();
    const std::string output = read_text(process.output);
    CAPTURE(output);
    CHECK(code == 3);
    CHECK(contains(output, "stopped by signal " + std::to_string(signal) + " at step"));
    CHECK(contains(output, "error: stopped before the end"));
    CHECK(run(folder, {text.string(), "--resume=" + name, "--sample-bytes=0"}).code == 0);
    check_same_files(folder / "whole", folder / name);
  }
}

TEST_CASE("train: signals that follow each other quickly stop a run as one does") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, quick_run(text, "whole")).code == 0);
  for (const int first : {SIGINT, SIGTERM}) {
    const std::string name = "run" + std::to_string(first);
    const Process process = start(folder, quick_run(text, name));
    wait_for_first_step(folder / name);
    for (const int signal : {first, SIGINT, SIGTERM, SIGHUP, SIGTERM, SIGINT}) {
      kill(process.pid, signal);
      pause_ms(3);
    }
    CHECK(process.wait() == 3);
    CHECK(run(folder, {text.string(), "--resume=" + name, "--sample-bytes=0"}).code == 0);
    check_same_files(folder / "whole", folder / name);
  }
}

TEST_CASE("train: a signal that was ignored at the start, as by nohup, stays ignored") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  const auto old = ::signal(SIGHUP, SIG_IGN);
  const Process process = start(folder, quick_run(text, "run"));
  ::signal(SIGHUP, old);
  wait_for_first_step(folder / "run");
  kill(process.pid, SIGHUP);
  CHECK(process.wait() == 0);
}

TEST_CASE("train: a reader that leaves is noted, and training goes on") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, quick_run(text, "whole")).code == 0);
  std::string command =
      "cd " + shell_quoted(folder.path().string()) + "; { " + shell_quoted(tool_dir() + "/train");
  for (const std::string& argument : quick_run(text, "run")) command += " " + shell_quoted(argument);
  command += " 2>err; echo $? >code; } | head -n 1 >out";
  CHECK(std::system(command.c_str()) == 0);
  CHECK(read_text(folder / "code") == "0\n");
  CHECK(contains(read_text(folder / "err"),
                 "note: the standard output cannot be written (Broken pipe); training goes on"));
  check_same_files(folder / "whole", folder / "run");
}

TEST_CASE("train: a full disk for its output is noted, the run is whole, and the exit code tells") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, quick_run(text, "whole")).code == 0);
  for (const char* output : {">/dev/full", ">&-", ">&- 2>&-", "<&- >&- 2>&-"}) {
    CAPTURE(output);
    fs::remove_all(folder / "run");
    std::string command =
        "cd " + shell_quoted(folder.path().string()) + "; exec " + shell_quoted(tool_dir() + "/train");
    for (const std::string& argument : quick_run(text, "run")) command += " " + shell_quoted(argument);
    const int status = std::system((command + " " + output).c_str());
    CHECK(WEXITSTATUS(status) == 1);
    check_same_files(folder / "whole", folder / "run");
  }
}

TEST_CASE("train: a limit on the size of files is an error with a message, and the run goes on without it") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  REQUIRE(run(folder, quick_run(text, "whole")).code == 0);
  std::string command = "cd " + shell_quoted(folder.path().string()) + "; ulimit -f 6; exec " +
                        shell_quoted(tool_dir() + "/train");
  for (const std::string& argument : quick_run(text, "run")) command += " " + shell_quoted(argument);
  const int status = std::system((command + " >out 2>err").c_str());
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 1);
  CHECK(contains(read_text(folder / "err"), "File too large"));
}

TEST_CASE("all programs: output that cannot be written ends them with 1 and a message") {
  const std::string golden = test_dir() + "/golden/old_run";
  const TempDir folder;
  const std::string model = golden + "/best.safetensors", text = golden + "/text.txt";
  const std::vector<std::vector<std::string>> commands = {
      {"evaluate", "--checkpoint=" + model, "--corpus=" + text, "--device=cpu"},
      {"evaluate", "--checkpoint=" + model, "--corpus=" + text, "--device=cpu", "--json"},
      {"generate", "--checkpoint=" + model, "--bytes=20", "--device=cpu"},
      {"quantize", model, "--corpus=" + text, "--out=" + (folder / "q").string(), "--device=cpu"},
      {"prune", model, "--corpus=" + text, "--out=" + (folder / "p").string(), "--sparsity=50",
       "--device=cpu"},
      {"train", text, "--describe"},
      {"train", "--help"},
      {"bench", "--help"}};
  for (const std::vector<std::string>& command : commands) {
    std::string line = "exec " + shell_quoted(tool_dir() + "/" + command[0]);
    for (size_t i = 1; i < command.size(); ++i) line += " " + shell_quoted(command[i]);
    CAPTURE(line);
    const int status = std::system((line + " >/dev/full 2>" + (folder / "err").string()).c_str());
    CHECK(WEXITSTATUS(status) == 1);
    const std::string error = read_text(folder / "err");
    CAPTURE(error);
    CHECK(contains(error, "error: "));
    CHECK(contains(error, "standard output"));
  }
}
