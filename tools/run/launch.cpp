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
#include <fstream>
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

// Returns the processes that descend from `ancestor` and run this program: the ranks that have not ended.
std::vector<pid_t> ranks_below(pid_t ancestor) {
  namespace fs = std::filesystem;
  std::error_code gone;  // processes may end while they are looked at
  const fs::path program = fs::read_symlink("/proc/self/exe");
  std::vector<pid_t> family{ancestor}, ranks;
  for (size_t i = 0; i < family.size(); ++i) {
    const fs::path process = "/proc/" + std::to_string(family[i]);
    if (i > 0 && fs::read_symlink(process / "exe", gone) == program) ranks.push_back(family[i]);
    for (fs::directory_iterator thread(process / "task", gone), end; thread != end; thread.increment(gone)) {
      std::ifstream children(thread->path() / "children");
      for (pid_t child = 0; children >> child;) family.push_back(child);
    }
  }
  return ranks;
}

// Watches for ranks that stay after others have ended. A rank that another one waits for is named by that one; but a rank
// that hangs or is stopped after its last message keeps nobody waiting except mpirun, which has no deadline.
class Stragglers {
 public:
  Stragglers(pid_t mpirun, double timeout) : mpirun_(mpirun), timeout_(timeout) {}

  // Returns the ranks that have outlived another one by more than the deadline. It looks at most five times a second.
  std::vector<pid_t> overdue() {
    const auto now = std::chrono::steady_clock::now();
    if (timeout_ <= 0 || now < next_look_) return {};
    next_look_ = now + std::chrono::milliseconds(200);
    std::vector<pid_t> ranks = ranks_below(mpirun_);
    if (ranks.size() >= most_) {
      most_ = ranks.size();
      first_end_ = now;
    }
    return std::chrono::duration<double>(now - first_end_).count() > timeout_ ? ranks : std::vector<pid_t>{};
  }

 private:
  pid_t mpirun_;
  double timeout_;
  size_t most_ = 0;  // ranks at a time so far
  std::chrono::steady_clock::time_point next_look_, first_end_;
};

// Waits for the end of mpirun. A signal to this process becomes SIGUSR1, which mpirun hands on to all ranks at once;
// SIGTERM would leave them a second. Returns the exit code, 128 + N for a death by signal N.
int wait_for(pid_t child, double timeout, const StopSignals& signals) {
  bool asked = false, ending = false;
  Stragglers stragglers(child, timeout);
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
    if (const std::vector<pid_t> left = stragglers.overdue(); !ending && !left.empty()) {
      std::cerr << fmt::format(
          "error: --ranks: a rank has ended {:g} s ago, but process {} has not; it hangs or is stopped, and is killed now "
          "(--timeout is the longest wait)\n",
          timeout, fmt::join(left, ", "));
      kill(child, SIGTERM);  // mpirun kills all its ranks, the stopped ones too
      ending = true;
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
  const double timeout = parse_time("--timeout", options.timeout);
  const StopSignals signals;
  int64_t ranks = *options.ranks;
  for (int64_t restart = 0;; ++restart) {
    prepare_environment(ranks);
    int code = wait_for(start_mpirun(ranks, of_ranks), timeout, signals);
    // After a signal MPICH's mpirun may say 0, whatever its ranks have ended with.
    if (code == kDone && signals.received() != 0) code = kStopped;
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
