// A small run of the train program, as a process that a test may disturb, and the comparison of two runs.
#pragma once
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
#include "tests/support/files.h"
#include "tests/support/paths.h"

namespace tandem::testing {

// Writes a text of a few words, so that there is something to learn.
inline std::filesystem::path write_sample(const TempDir& folder) {
  Random random(1);
  const char* words[] = {"tape ", "tensor ", "gradient ", "scan ", "memory. "};
  std::ofstream out(folder / "text.txt");
  for (int i = 0; i < 2500; ++i) out << words[random.below(5)];
  return folder / "text.txt";
}

struct Process {
  pid_t pid;
  std::filesystem::path output;  // stdout and stderr

  int wait() const {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  }
};

// Becomes the train program, in this folder and with these arguments. For the child of a fork.
[[noreturn]] inline void become_train(const TempDir& folder, const std::vector<std::string>& arguments) {
  if (chdir(folder.path().c_str()) != 0) _exit(126);
  const std::string program = tool_dir() + "/train";
  std::vector<char*> argv{const_cast<char*>(program.c_str())};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execv(program.c_str(), argv.data());
  _exit(127);
}

inline Process start(const TempDir& folder, const std::vector<std::string>& arguments) {
  static int count = 0;
  const std::filesystem::path output = folder / ("output" + std::to_string(count++));
  const pid_t pid = fork();
  if (pid == 0) {
    const int file = open(output.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
    dup2(file, STDOUT_FILENO);
    dup2(file, STDERR_FILENO);
    become_train(folder, arguments);
  }
  return {pid, output};
}

struct ProcessResult {
  int code;
  std::string output;
};

inline ProcessResult run(const TempDir& folder, const std::vector<std::string>& arguments) {
  const Process process = start(folder, arguments);
  const int code = process.wait();
  return {code, read_text(process.output)};
}

inline std::vector<std::string> small_run(const std::filesystem::path& text, const std::string& out,
                                          std::vector<std::string> more = {}) {
  std::vector<std::string> all = {text.string(),         "--out=" + out,   "--d=32",
                                  "--d-projected=8",     "--layers=2",     "--dropout=0.1",
                                  "--batch-size=4",      "--unroll=16",    "--eval-window=16",
                                  "--lr=3e-3",           "--warmup=10",    "--steps=120",
                                  "--eval-batch-size=2", "--eval-every=7", "--sample-bytes=30"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

// A run of 30 steps with evaluations after 7, 14, 21, 28 and 30, without a sample.
inline std::vector<std::string> short_run(const std::filesystem::path& text, const std::string& out,
                                          std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--steps=30", "--sample-bytes=0"});
  return small_run(text, out, more);
}

// Returns the rows of metrics.jsonl.
inline std::vector<nlohmann::json> metrics(const std::filesystem::path& run_folder) {
  std::vector<nlohmann::json> rows;
  std::ifstream in(run_folder / "metrics.jsonl");
  for (std::string line; std::getline(in, line);) rows.push_back(nlohmann::json::parse(line));
  return rows;
}

// Returns loss and gradient norm of each step as text, so that equal means equal bits.
inline std::map<int64_t, std::string> losses(const std::filesystem::path& run_folder) {
  std::map<int64_t, std::string> all;
  for (const nlohmann::json& json : metrics(run_folder)) {
    if (!json.contains("loss")) continue;
    CHECK(all.count(json["step"]) == 0);  // no step twice
    all[json["step"]] = json["loss"].dump() + " " + json["gradient_norm"].dump();
  }
  return all;
}

// Waits until the run has done a step.
inline void wait_for_first_step(const std::filesystem::path& run_folder) {
  const std::filesystem::path file = run_folder / "metrics.jsonl";
  for (int i = 0; i < 3000 && (!std::filesystem::exists(file) || std::filesystem::file_size(file) == 0); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

// Returns the rows of metrics.jsonl without what differs from run to run: times and memory.
inline std::vector<std::string> metrics_rows(const std::filesystem::path& run_folder) {
  std::vector<std::string> rows;
  for (nlohmann::json json : metrics(run_folder)) {
    for (const char* field : {"ms", "tokens_per_second", "memory_bytes"}) json.erase(field);
    rows.push_back(json.dump());
  }
  return rows;
}

// Checks that two runs left the same files: checkpoints byte for byte, metrics row by row.
inline void check_same_files(const std::filesystem::path& a, const std::filesystem::path& b) {
  for (const char* name : {"last.safetensors", "best.safetensors"}) {
    CAPTURE(name);
    CHECK(read_text(a / name) == read_text(b / name));
  }
  CHECK(metrics_rows(a) == metrics_rows(b));
}

}  // namespace tandem::testing
