// Handlers of signals.
#include "tandem/tools/run/stop_signals.h"

#include <atomic>
#include <csignal>
#include <ctime>
#include <iterator>

namespace tandem {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGXCPU, SIGUSR1};
constexpr double kPatience =
    1;  // seconds after which a second SIGINT is a new wish, not an echo of the first

struct sigaction old_actions[std::size(kSignals)];

std::atomic<int> first_signal = 0;
std::atomic<double> interrupted_at = 0;
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<double>::is_always_lock_free,
              "handlers may use only atomics without locks");

double now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

void on_signal(int signal) {
  int none = 0;
  const bool first = first_signal.compare_exchange_strong(none, signal);
  if (signal != SIGINT) return;
  const double before = interrupted_at.exchange(now());
  if (first || before == 0 || now() - before < kPatience) return;
  std::signal(SIGINT, SIG_DFL);
  std::raise(SIGINT);
}

}  // namespace

StopSignals::StopSignals() {
  first_signal = 0;
  interrupted_at = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;  // no system call fails because a signal came
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], nullptr, &old_actions[i]);
    if (old_actions[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignals::~StopSignals() {
  if (received() != 0) return;  // the program is about to end, and says so by its exit code
  for (size_t i = 0; i < std::size(kSignals); ++i) sigaction(kSignals[i], &old_actions[i], nullptr);
}

int StopSignals::received() const {
  return first_signal;
}

}  // namespace tandem
