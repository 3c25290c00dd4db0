// The frame of the tools' mains.
#include "tools/run/cli.h"

#include <omp.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <system_error>
#include <utility>

#include "core/backend.h"
#include "core/check.h"
#include "core/format.h"
#include "ops/gemm/precision.h"

namespace tandem {
namespace {

#ifdef __clang__
constexpr bool kLibgomp = false;  // its OpenMP library is another, with other settings
#else
constexpr bool kLibgomp = true;
#endif

constexpr int kFailure = 1;
constexpr int kWrongUsage = 2;

int report(const std::string& what, int code) {
  std::cout.flush();
  std::cerr << "error: " << what << std::endl;
  return code;
}

int wrong_usage(const CLI::App& app, const std::string& what) {
  return report(fmt::format("{}\n`{} --help` lists the options", what, app.get_name()), kWrongUsage);
}

// Returns " (--recompute, a smaller --batch-size)": what of this a program offers; "" where it offers none.
std::string flags_that_save_memory(const CLI::App& app) {
  constexpr std::pair<const char*, const char*> kAdvice[] = {{"--recompute", "--recompute"},
                                                             {"--precision", "--precision=bf16"},
                                                             {"--batch-size", "a smaller --batch-size"},
                                                             {"--unroll", "a smaller --unroll"}};
  std::string flags;
  for (const auto& [option, advice] : kAdvice)
    if (app.get_option_no_throw(option)) flags += (flags.empty() ? "" : ", ") + std::string(advice);
  return flags.empty() ? "" : " (" + flags + ")";
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

void limit_openmp_spinning(char** argv) {
  constexpr const char *kSpins = "GOMP_SPINCOUNT", *kStartedAgain = "TANDEM_STARTED_AGAIN";
  const bool again = std::getenv(kStartedAgain) != nullptr;
  if (!again && (!kLibgomp || std::getenv(kSpins) || std::getenv("OMP_WAIT_POLICY"))) return;
  std::error_code unknown;
  const std::string program = std::filesystem::read_symlink("/proc/self/exe", unknown).string();
  if (!again && !unknown) {
    setenv(kSpins, "10000", 1);
    setenv(kStartedAgain, "1", 1);
    execv(program.c_str(), argv);  // returns only where it is not allowed: then libgomp's way must do
  }
  unsetenv(kSpins);
  unsetenv(kStartedAgain);
}

int run_main(CLI::App& app, int argc, char** argv, const std::function<void()>& body) {
  if (app.get_name().empty() && argc > 0) app.name(argv[0]);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return wrong_usage(app, error.what());
  }
  try {
    body();
    return 0;
  } catch (const UsageError& error) {
    return wrong_usage(app, error.what());
  } catch (const OutOfMemory& error) {
    return report(error.what() + flags_that_save_memory(app), kFailure);
  } catch (const DownloadError& error) {
    return report(fmt::format("{}\nUse --url=file:///path/to/{} for a copy, or run `train gcide`.",
                              error.what(), error.file()),
                  kFailure);
  } catch (const std::bad_alloc&) {
    return report("out of memory", kFailure);
  } catch (const std::exception& error) {
    return report(error.what(), kFailure);
  }
}

std::string device_line(Device device) {
  if (device.is_cuda()) return fmt::format("device: {}, {}", device.str(), cuda_status().text);
  const std::string gpu = cuda_status().available ? "" : "; no GPU: " + cuda_status().text;
  return fmt::format("device: {}{}", device_name(device), gpu);
}

std::string device_name(Device device) {
  if (device.is_cuda()) return fmt::format("{}, {}", device.str(), cuda_status().name);
  return fmt::format("cpu, {}, {} threads, bf16: {}", cpu_name(), omp_get_max_threads(),
                     cpu_has_bf16() ? "yes" : "no");
}

void add_corpus_options(CLI::App& app, CorpusOptions& options) {
  app.add_option("--url", options.url,
                 "download the corpus from here instead of the known mirrors; ptb, lm1b: a folder");
  app.add_option("--data-dir", options.data_dir,
                 "folder of the corpora [$TANDEM_DATA, else ~/.cache/tandem]");
  app.add_option("--valid-fraction", options.valid_fraction, "share of a file that is its dev part")
      ->capture_default_str();
  app.add_option("--test-fraction", options.test_fraction, "share of a file that is its test part")
      ->capture_default_str();
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
    if (!line.due()) return;
    line.show(total > 0 ? fmt::format("{} of {} bytes, {:.0f} %", with_commas(done), with_commas(total),
                                      100.0 * static_cast<double>(done) / static_cast<double>(total))
                        : fmt::format("{} bytes", with_commas(done)));
    if (done == total) line.clear();
  };
}

}  // namespace tandem
