// What the mains of all tools share: exit codes, error messages, the start-up line, the progress line.
#pragma once
#include <chrono>
#include <functional>
#include <string>

#include "core/device.h"
#include "core/error.h"
#include "core/format.h"
#include "data/corpus.h"

namespace CLI {
class App;
}

namespace tandem {

// Wrong usage that only shows after the command line was parsed.
class UsageError : public Error {
 public:
  using Error::Error;
};

// First of all in main(), with its arguments: threads that wait for one another are to rest after some 0.3
// ms. libgomp lets them spin for 9 ms: where another program has a core, a thread that spins keeps away the
// very one that it waits for, and a step takes 5 to 60 times as long (tools/records/2026-11-22-cpu-speed.md).
// It asks the environment when it is loaded, so the program starts again, with that set: 3 ms, or 80 where
// CUDA's libraries are loaded once more. GOMP_SPINCOUNT or OMP_WAIT_POLICY in the user's environment stay as
// they are; programs that a tool starts get the user's.
void limit_openmp_spinning(char** argv);

// Parses the command line and runs `body`. Returns the exit code: 0 done (--help, too), 2 wrong usage, 1
// failure. What went wrong is one message on stderr, beginning with "error: "; when memory is used up it names the
// program's own options that need less.
int run_main(CLI::App& app, int argc, char** argv, const std::function<void()>& body);

// "device: cpu, Intel Xeon, 2 threads, bf16: yes; no GPU: no NVIDIA driver", or
// "device: cuda:0, NVIDIA H100 80GB HBM3, 79.1 GiB, driver 13.0, runtime 13.0".
std::string device_line(Device device);
// What of it tells machines apart: "cpu, Intel Xeon, 2 threads, bf16: yes", or "cuda:0, NVIDIA H100 80GB
// HBM3".
std::string device_name(Device device);

// The names of corpora, for help texts.
inline constexpr const char* kCorpusNames =
    "gcide, enwik8, text8, wikitext-103, wikitext-2, ptb, lm1b, or the path of any file";

// Adds --url, --data-dir, --valid-fraction and --test-fraction. `options` must outlive the parsing.
void add_corpus_options(CLI::App& app, CorpusOptions& options);

// One line on stderr that is written over again and again, where stderr is a terminal; nothing elsewhere.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool due() const;  // on a terminal, 0.1 s after the last one: worth making a text for
  void show(const std::string& text);
  void clear();  // so that other output can follow

 private:
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

// Shows downloads and unpacking in `line`, which must outlive it; where stderr is no terminal, one line for
// each.
CorpusProgress corpus_progress(ProgressLine& line);

}  // namespace tandem
