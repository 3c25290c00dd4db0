// Products and training steps under limits of memory: they finish or throw, and never end the process by a signal.
#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "tandem/autograd/leaf.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/parallel.h"
#include "tandem/core/random.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/gemm/precision.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/reduce.h"
#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/threads.h"

namespace tandem::testing {
namespace {

constexpr const char* kVariable = "TANDEM_TEST_MEMORY_KIB";
constexpr const char* kReport = "TANDEM_TEST_MEMORY_REPORT";
constexpr int kFinished = 0, kThrew = 10;
#ifdef TANDEM_SANITIZE
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

size_t address_space() {
  std::ifstream file("/proc/self/statm");
  size_t pages = 0;
  file >> pages;
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// Linear layers and attention forward and backward, in sizes that grow, so that kernels and buffers are made anew.
void train(int rounds) {
  Random random(1);
  for (int64_t round = 1; round <= rounds; ++round) {
    const int64_t d = 32 * round, steps = 8 * round;
    Tape tape;
    const Tensor x({steps, 4, d}, DType::f32), w({3 * d, d}, DType::f32);
    random.fill_uniform(x, -1, 1);
    random.fill_uniform(w, -1, 1);
    requires_grad(w);
    const Tensor qkv = linear(x, w);
    tape.backward(mean(qkv * qkv));
  }
}

// The child's work: threads first, so that their stacks do not count.
int train_within(size_t kib) {
  const Threads two(2);
  cpu::parallel_for(2, true, [](int64_t) {});
  const size_t bytes = address_space() + kib * 1024;
  const rlimit limit{bytes, bytes};
  setrlimit(RLIMIT_AS, &limit);
  try {
    train(12);
    if (cpu_has_bf16()) {
      const PrecisionScope bf16(MatmulPrecision::bf16);
      train(12);
    }
    return kFinished;
  } catch (const std::exception& error) {
    std::ofstream(std::getenv(kReport)) << error.what();
    return kThrew;
  }
}

// Runs the case below in a new process with this much memory more than it has. Returns its status.
int run_child(size_t kib, const std::string& report) {
  const pid_t child = fork();
  if (child == 0) {
    setenv(kVariable, std::to_string(kib).c_str(), 1);
    setenv(kReport, report.c_str(), 1);
    execl("/proc/self/exe", "tests", "--test-case=memory limit: the work of a child process", "--no-skip",
          static_cast<char*>(nullptr));
    _exit(127);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  return status;
}

}  // namespace

TEST_CASE("memory limit: the work of a child process" * doctest::skip()) {
  const char* const kib = std::getenv(kVariable);
  if (kib != nullptr) std::_Exit(train_within(std::stoul(kib)));
}

TEST_CASE("memory limit: training ends with an exception's message, or finishes, and never by a signal") {
  if (kSanitized) return;  // sanitizers reserve the whole address space
  const TempDir folder;
  int threw = 0;
  for (const size_t kib :
       {0,     64,    256,   700,   1024,  1500,  2048,  3000,   4096,   6000,   8192,   12000,
        16384, 20000, 24576, 32768, 40000, 50000, 65536, 100000, 150000, 200000, 4000000}) {
    CAPTURE(kib);
    const int status = run_child(kib, folder / "report");
    REQUIRE(WIFEXITED(status));
    const int code = WEXITSTATUS(status);
    CHECK((code == kFinished || code == kThrew));
    threw += code == kThrew;
    if (code == kThrew) CHECK(read_text(folder / "report") != "");
    if (kib == 4000000) CHECK(code == kFinished);
  }
  CHECK(threw >= 3);
}

}  // namespace tandem::testing
