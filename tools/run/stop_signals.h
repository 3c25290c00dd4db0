// Signals that ask a training run to stop.
#pragma once

namespace tandem {

// While it lives, SIGINT, SIGTERM, SIGHUP, SIGXCPU and SIGUSR1 ask for an orderly end, however often they arrive. Only a
// second SIGINT, a second or more after the first, ends the process at once, as a user at a terminal expects. Signals
// that the process was started to ignore, as by nohup, stay ignored. Only one may live at a time. Once a signal has
// arrived the handlers stay, so that another one does not end the program in place of its exit code.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  // Returns the signal that arrived first, 0 if none has.
  int received() const;
};

}  // namespace tandem
