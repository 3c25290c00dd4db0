// Which instructions the process may use. The test avx2 runs this file and those of the operators on an
// emulated CPU without AVX-512, where such an instruction ends the program.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "tandem/ops/gemm/precision.h"
#include "tests/support/errors.h"

using namespace tandem;
using namespace tandem::testing;

TEST_CASE("instruction set: bf16 products are available, or refused with what is missing") {
  const std::string error = error_of([] { const PrecisionScope bf16(MatmulPrecision::bf16); });
  if (cpu_has_bf16())
    CHECK(error == "no error");
  else
    CHECK(contains(error, "this CPU has no bf16 instructions (AMX or AVX-512 BF16)"));
}

#if defined(__x86_64__)

namespace {

// Returns whether a 512-bit instruction runs. It is tried in a child process, which it ends if it does not.
bool runs_avx512() {
  const pid_t child = fork();
  if (child == 0) {
    std::signal(SIGILL, SIG_DFL);
    asm volatile("vpxord %%zmm0, %%zmm0, %%zmm0" ::: "xmm0");
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  if (WIFEXITED(status)) return true;
  CHECK(WTERMSIG(status) == SIGILL);
  return false;
}

}  // namespace

TEST_CASE("instruction set: AVX-512 runs if and only if the CPU reports it") {
  CHECK(runs_avx512() == (__builtin_cpu_supports("avx512f") != 0));
  if (!__builtin_cpu_supports("avx512f")) CHECK(!cpu_has_bf16());
}

// Asks the same questions that choose among the versions of a loop (core/macros.h).
TEST_CASE("instruction set: TANDEM_TEST_CPU=avx2 runs without AVX-512") {
  const char* const expected = std::getenv("TANDEM_TEST_CPU");
  if (expected == nullptr) return;
  REQUIRE(std::string(expected) == "avx2");
#if defined(__clang__)
  CHECK(__builtin_cpu_supports("avx2"));
  CHECK(!__builtin_cpu_supports("avx512bw"));
#else
  CHECK(__builtin_cpu_supports("x86-64-v3"));
  CHECK(!__builtin_cpu_supports("x86-64-v4"));
#endif
  CHECK(!runs_avx512());
  CHECK(!cpu_has_bf16());
}

#endif
