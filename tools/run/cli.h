// Parts that the mains of all programs share: exit codes, error messages, the line that names the device, the
// progress line.
#pragma once
#include <chrono>
#include <functional>
#include <string>

#include "tandem/core/device.h"
#include "tandem/core/format.h"
#include "tandem/data/corpus.h"
#include "tandem/tools/run/flags.h"

namespace tandem {

// Returns the file name of argv[0], by which the program's help and errors call it.
std::string program_name(char** argv);

// Work that a signal stopped, and that the program can go on with when it is started again.
class StoppedBySignal : public Error {
 public:
  using Error::Error;
};

// Parses the command line and runs `body`. Returns the exit code: 0 done (or --help), 1 failure, 2 wrong usage, 3
// stopped by a signal (StoppedBySignal). Output that could not be written is a failure. On failure it prints one message
// on stderr that begins with "error: "; when memory is used up it names the flags of this program that need less.
int run_main(Flags& flags, int argc, char** argv, const std::function<void()>& body);

// Prints "error: " and a message on stderr. Returns the exit code of a failure, 1.
int report_failure(const std::string& message);

// Returns "device: cpu, Intel Xeon, 2 threads, bf16: yes; no GPU: no NVIDIA driver", or
// "device: cuda:0, NVIDIA H100 80GB HBM3, 79.1 GiB, driver 13.0, runtime 13.0".
std::string device_line(Device device);
// Returns the part of it that tells machines apart: "cpu, Intel Xeon, 2 threads, bf16: yes", or
// "cuda:0, NVIDIA H100 80GB HBM3".
std::string device_name(Device device);

// Help text of an argument that names a corpus.
inline constexpr const char* kCorpusNames =
    "The text: gcide, gcide-alphabetical, enwik8, text8, wikitext-103, wikitext-2, ptb, lm1b, or the path of any file.";

// Adds --verify=on|off, whether files are checked against their digests. For programs that read checkpoints or corpora.
void add_verify_flag(Flags& flags);

// Adds --url and --data-dir. `options` must outlive the parsing.
void add_download_flags(Flags& flags, CorpusOptions& options);
// Adds --url, --data-dir, --valid-fraction and --test-fraction. `options` must outlive the parsing.
void add_corpus_flags(Flags& flags, CorpusOptions& options);

// A line on stderr that is overwritten by the next one. It is shown on a terminal only.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool due() const;  // true on a terminal if the last text is 0.1 s old
  void show(const std::string& text);
  void clear();  // call it before other output

 private:
  bool terminal_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point last_;
};

// Returns a callback that shows downloads and unpacking in `line`, which must outlive it. Where stderr is no
// terminal, it prints one line for each.
CorpusProgress corpus_progress(ProgressLine& line);

}  // namespace tandem
