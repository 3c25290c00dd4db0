// Signals that ask a run to stop: which are taken, and what a second one does.
#include "tandem/tools/run/stop_signals.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <functional>

namespace tandem::testing {
namespace {

// Runs f in a process of its own. Returns its exit code, or -N if signal N ended it.
int in_child(const std::function<int()>& f) {
  const pid_t child = fork();
  if (child == 0) _exit(f());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

}  // namespace

TEST_CASE("stop signals: the first one is kept, and those that follow change nothing") {
  CHECK(in_child([] {
          const StopSignals signals;
          if (signals.received() != 0) return 100;
          for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGXCPU, SIGUSR1, SIGTERM, SIGINT}) raise(signal);
          return signals.received();
        }) == SIGTERM);
}

TEST_CASE("stop signals: an interrupt a second after the first ends the process, an echo does not") {
  CHECK(in_child([] {
          const StopSignals signals;
          raise(SIGINT);
          raise(SIGINT);
          usleep(1'200'000);
          raise(SIGINT);
          return 0;
        }) == -SIGINT);
}

TEST_CASE("stop signals: after the end that a signal asked for, another one changes nothing") {
  CHECK(in_child([] {
          {
            const StopSignals signals;
            raise(SIGTERM);
          }
          raise(SIGTERM);
          raise(SIGHUP);
          return 3;
        }) == 3);
}

TEST_CASE("stop signals: the old actions return, and what was ignored stays ignored") {
  CHECK(in_child([] {
          std::signal(SIGHUP, SIG_IGN);
          const StopSignals signals;
          raise(SIGHUP);
          return signals.received();
        }) == 0);
  CHECK(in_child([] {
          { const StopSignals signals; }
          raise(SIGUSR1);
          return 0;
        }) == -SIGUSR1);
}

}  // namespace tandem::testing
