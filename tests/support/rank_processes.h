// Ranks that are processes: runs of train under mpirun, as a user starts them, and what tests do to one of them.
#pragma once
#include <cstdlib>
#include <string>
#include <vector>

#include "tests/support/train_process.h"

namespace tandem::testing {

// Machines without mpirun skip what needs it, and say so.
inline bool has_mpirun() {
  static const bool has = std::system("mpirun --version >/dev/null 2>&1") == 0;
  if (!has) MESSAGE("skipped: there is no mpirun here; Debian has it in openmpi-bin");
  return has;
}

// Returns the processes of this rank, which is `started` itself, a child or a grandchild of it.
inline std::vector<pid_t> processes_of_rank(const Process& started, int rank) {
  std::vector<pid_t> found, family{started.pid};
  for (size_t i = 0; i < family.size(); ++i) {
    const std::string task = "/proc/" + std::to_string(family[i]);
    std::ifstream children(task + "/task/" + std::to_string(family[i]) + "/children");
    for (pid_t child = 0; children >> child;) family.push_back(child);
    const std::string environment = read_text(task + "/environ");
    const std::string wanted =
        std::string("OMPI_COMM_WORLD_RANK=") + std::to_string(rank) + std::string(1, '\0');
    if (environment.find(wanted) != std::string::npos) found.push_back(family[i]);
  }
  return found;
}

// Waits until all ranks have done the first of their steps.
inline void wait_for_ranks(const Process& started) {
  for (int i = 0; i < 6000 && read_text(started.output).find(" MB by rank") == std::string::npos; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
}

inline void send_to_rank(const Process& started, int rank, int signal) {
  const std::vector<pid_t> processes = processes_of_rank(started, rank);
  REQUIRE(processes.size() == 1);
  kill(processes[0], signal);
}

// Runs mpirun with these arguments in the folder.
inline ProcessResult run_mpirun(const TempDir& folder, const std::string& arguments) {
  setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  const std::string command = "cd " + folder.path().string() + " && mpirun --oversubscribe --bind-to none " +
                              arguments + " >mpirun.log 2>&1";
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(folder / "mpirun.log")};
}

// A run of 4 shards and 30 steps.
inline std::vector<std::string> sharded_run(const std::filesystem::path& text, const std::string& out,
                                            std::vector<std::string> more = {}) {
  more.insert(more.begin(), {"--shards=4", "--steps=30"});
  return small_run(text, out, more);
}

}  // namespace tandem::testing
