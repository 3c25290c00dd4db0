// Starts mpirun as a child process and hands signals on to it.
#include "tandem/tools/run/launch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <string_view>
#include <thread>
#include <vector>

#include "tandem/core/check.h"
#include "tandem/tools/run/cli.h"
#include "tandem/tools/run/output.h"
#include "tandem/tools/run/run_folder.h"
#include "tandem/tools/run/stop_signals.h"

namespace tandem {
namespace {

constexpr const char* kRestart = "TANDEM_RESTART";
constexpr int kDone = 0, kFailure = 1, kWrongUsage = 2, kStopped = 3, kNotFound = 127;

// Returns the arguments that ranks get: all but the flags that concern the start alone.
std::vector<std::string> arguments_of_ranks(const std::vector<std::string>& arguments) {
  std::vector<std::string> all;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view text(arguments[i]);
    bool dropped = false;
    for (const std::string_view name : {"--ranks", "--max-restarts"}) {
      if (!text.starts_with(name)) continue;
      const bool apart = text.size() == name.size();  // the value is the next argument
      if (!apart && text[name.size()] != '=') continue;
      if (apart) ++i;
      dropped = true;
      break;
    }
    if (!dropped) all.emplace_back(text);
  }
  return all;
}

// Sets the variables that mpirun and the ranks read, unless the user has. It gives mpirun no options for this, because
// MPICH's does not know those of Open MPI.
void prepare_environment(int64_t ranks) {
  const auto set = [](const char* name, const std::string& value) { setenv(name, value.c_str(), 0); };
  set("OMP_NUM_THREADS", std::to_string(std::max<int64_t>(1, cores_of_process() / ranks)));
  set("OMPI_MCA_hwloc_base_binding_policy", "none");
  set("OMPI_MCA_rmaps_base_oversubscribe", "1");
  if (ranks > cores_of_process()) set("OMPI_MCA_mpi_yield_when_idle", "1");
  if (geteuid() == 0) {  // the user has started this program as root, so root it is
    set("OMPI_ALLOW_RUN_AS_ROOT", "1");
    set("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
  }
}

pid_t start_mpirun(int64_t ranks, const std::vector<std::string>& arguments) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string(),
                    count = std::to_string(ranks);
  std::vector<const char*> command{"mpirun", "-np", count.c_str(), program.c_str()};
  for (const std::string& argument : arguments) command.push_back(argument.c_str());
  command.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t child = fork();
  TANDEM_CHECK(child >= 0, "--ranks: no process can be started: {}", std::strerror(errno));
  if (child > 0) return child;
  // A group of its own: Ctrl-C reaches this program alone, which asks the ranks to save and stop.
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(kFailure);
  const int nothing = ::open("/dev/null", O_RDONLY);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  for (const char* name : {"mpirun", "orterun", "mpiexec"}) {
    command[0] = name;
    execvp(name, const_cast<char**>(command.data()));
  }
  _exit(kNotFound);
}

// Waits for the end of mpirun. A signal to this process becomes SIGUSR1, which mpirun hands on to all ranks at once;
// SIGTERM would leave them a second. Returns the exit code, 128 + N for a death by signal N.
int wait_for(pid_t child, const StopSignals& signals) {
  bool asked = false;
  while (true) {
    int status = 0;
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    TANDEM_CHECK(ended == 0 || errno == EINTR, "--ranks: mpirun cannot be waited for: {}",
                 std::strerror(errno));
    if (!asked && signals.received() != 0) {
      kill(child, SIGUSR1);
      asked = true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

}  // namespace

bool is_restart() {
  return std::getenv(kRestart) != nullptr;
}

void launch_ranks(const RankOptions& options, const std::string& out,
                  const std::vector<std::string>& arguments) {
  const std::vector<std::string> of_ranks = arguments_of_ranks(arguments);
  const StopSignals signals;
  int64_t ranks = *options.ranks;
  for (int64_t restart = 0;; ++restart) {
    prepare_environment(ranks);
    const int code = wait_for(start_mpirun(ranks, of_ranks), signals);
    if (code == kDone) return;
    if (code != kStopped && signals.received() != 0)
      throw StoppedBySignal("stopped before the ranks could save; the last checkpoint is whole");
    TANDEM_CHECK(
        code != kNotFound,
        "--ranks: mpirun is not on the PATH; install openmpi-bin, as tools/setup does, or train without --ranks");
    if (restart < options.max_restarts && code != kWrongUsage && code != kStopped) {
      ranks = std::max<int64_t>(1, ranks - 1);
      const std::filesystem::path last = std::filesystem::path(out) / kLastCheckpoint;
      say(fmt::format("restart {} of {}: a rank has failed (exit code {}); {} of {} go on from {}\n",
                      restart + 1, options.max_restarts, code, ranks, *options.ranks,
                      std::filesystem::exists(last) ? last.string() : "the beginning"));
      setenv(kRestart, "1", 1);
      continue;
    }
    if (code == kWrongUsage || code == kStopped) {
      std::cout.flush();
      std::_Exit(code);  // rank 0 has told why
    }
    detail::fail(
        "a rank has ended with exit code {}{}; checkpoints that were written are whole, and --resume goes on from "
        "the last one on any number of ranks",
        code,
        code > 128 ? fmt::format(", killed by signal {}", code - 128) : ", and told why above if it could");
  }
}

}  // namespace tandem
