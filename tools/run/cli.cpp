// Start, errors and shared output of the programs.
#include "tandem/tools/run/cli.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string_view>
#include <system_error>

#include "tandem/core/backend.h"
#include "tandem/core/check.h"
#include "tandem/core/format.h"
#include "tandem/core/parallel.h"
#include "tandem/core/safetensors.h"
#include "tandem/core/utf8.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/tools/run/output.h"

namespace tandem {
namespace {

constexpr int kFailure = 1;
constexpr int kWrongUsage = 2;
constexpr int kStopped = 3;

int report(const std::string& what, int code) {
  std::cout.flush();
  std::cerr << "error: " << printable(what) << std::endl;
  return code;
}

// Returns " (--recompute, a smaller --batch-size)": what of this a program offers; "" where it offers none.
std::string flags_that_save_memory(const Flags& flags) {
  constexpr std::pair<const char*, const char*> kAdvice[] = {{"--recompute", "--recompute"},
                                                             {"--precision", "--precision=bf16"},
                                                             {"--batch-size", "a smaller --batch-size"},
                                                             {"--unroll", "a smaller --unroll"}};
  std::string offered;
  for (const auto& [option, advice] : kAdvice)
    if (flags.has(option)) offered += (offered.empty() ? "" : ", ") + std::string(advice);
  return offered.empty() ? "" : " (" + offered + ")";
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    const size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace

std::string program_name(char** argv) {
  return std::filesystem::path(argv[0]).filename().string();
}

int report_failure(const std::string& message) {
  return report(message, kFailure);
}

// Refuses values that the OpenMP libraries answer by an abort, or take for a number that they do not hold.
void check_thread_count() {
  constexpr int kMost = 4096;
  const char* const value = std::getenv("OMP_NUM_THREADS");
  if (!value) return;
  std::string_view rest(value);
  while (true) {
    int count = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), count);
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    if (error != std::errc() || count < 1 || count > kMost || (!rest.empty() && rest.front() != ','))
      throw UsageError(fmt::format(
          "OMP_NUM_THREADS is '{}' in the environment; it must be a number from 1 to {}, or unset", value,
          kMost));
    if (rest.empty()) return;
    rest.remove_prefix(1);  // the comma before the next level of nesting
  }
}

int run_main(Flags& flags, int argc, char** argv, const std::function<void()>& body) {
  open_standard_streams();
  std::signal(SIGXFSZ, SIG_IGN);  // a file beyond the limit on sizes becomes an error of the write
  try {
    check_thread_count();
    if (flags.parse(argc, argv)) body();
    check_output();
    return 0;
  } catch (const StoppedBySignal& error) {
    return report(error.what(), kStopped);
  } catch (const UsageError& error) {
    return report(fmt::format("{}\n`{} --help` lists the options", error.what(), flags.program()),
                  kWrongUsage);
  } catch (const OutOfMemory& error) {
    return report(error.what() + flags_that_save_memory(flags), kFailure);
  } catch (const DamagedFile& error) {
    return report(fmt::format("{}{}", error.what(),
                              flags.has("--verify") ? ", or read it as it is by --verify=off" : ""),
                  kFailure);
  } catch (const DownloadError& error) {
    return report(fmt::format("{}\nUse --url=file:///path/to/{} for a copy, or run `train gcide`.",
                              error.what(), error.file()),
                  kFailure);
  } catch (const std::bad_alloc&) {
    return report("out of memory" + flags_that_save_memory(flags), kFailure);
  } catch (const std::exception& error) {
    return report(error.what(), kFailure);
  }
}

void add_verify_flag(Flags& flags) {
  static std::string verify = "on";
  flags
      .add("--verify", verify,
           "off: read files that do not match the digests that they hold, as far as that is possible.")
      .one_of({"on", "off"})
      .show_default()
      .on_value([](const std::string& value) { set_verify_digests(value == "on"); });
}

std::string device_line(Device device) {
  if (device.is_cuda()) return fmt::format("device: {}, {}", device.str(), cuda_status().text);
  const std::string gpu = cuda_status().available ? "" : "; no GPU: " + cuda_status().text;
  return fmt::format("device: {}{}", device_name(device), gpu);
}

std::string device_name(Device device) {
  if (device.is_cuda()) return fmt::format("{}, {}", device.str(), cuda_status().name);
  return fmt::format("cpu, {}, {} threads, bf16: {}", cpu_name(), cpu::max_threads(),
                     cpu_has_bf16() ? "yes" : "no");
}

void add_download_flags(Flags& flags, CorpusOptions& options) {
  flags.add(
      "--url", options.url,
      "Download the corpus from this URL instead of the known mirrors. For ptb and lm1b, which are several files, "
      "give the folder that holds them.");
  flags.add("--data-dir", options.data_dir,
            "Keep corpora in this folder [$TANDEM_DATA, else ~/.cache/tandem].");
}

void add_corpus_flags(Flags& flags, CorpusOptions& options) {
  add_download_flags(flags, options);
  flags
      .add("--valid-fraction", options.valid_fraction,
           "Share of a file that is held out as its dev split. Benchmarks have splits of their own.")
      .show_default();
  flags.add("--test-fraction", options.test_fraction, "Share of a file that is held out as its test split.")
      .show_default();
}

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) == 1) {}

bool ProgressLine::due() const {
  return terminal_ && (!shown_ || std::chrono::steady_clock::now() - last_ > std::chrono::milliseconds(100));
}

void ProgressLine::show(const std::string& text) {
  if (!terminal_) return;
  std::cerr << '\r' << text << "\x1b[K" << std::flush;
  shown_ = true;
  last_ = std::chrono::steady_clock::now();
}

void ProgressLine::clear() {
  if (shown_) std::cerr << "\r\x1b[K" << std::flush;
  shown_ = false;
}

CorpusProgress corpus_progress(ProgressLine& line) {
  const auto announced = std::make_shared<std::string>();
  return [&line, announced](std::string_view what, int64_t done, int64_t total) {
    if (*announced != what) {
      line.clear();
      std::cerr << what << std::endl;
      *announced = what;
    }
    if (!line.due() || (done == 0 && total == 0)) return;  // a message without a size
    line.show(total > 0 ? fmt::format("{} of {} bytes, {:.0f} %", with_commas(done), with_commas(total),
                                      100.0 * static_cast<double>(done) / static_cast<double>(total))
                        : fmt::format("{} bytes", with_commas(done)));
    if (done == total) line.clear();
  };
}

}  // namespace tandem
