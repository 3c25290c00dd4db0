// The only file that is compiled with absolute paths, so that a compiler cache serves every checkout.
#include "tests/support/paths.h"

#include <cstdlib>

namespace tandem::testing {
namespace {

std::string from_environment(const char* variable, const char* otherwise) {
  const char* const value = std::getenv(variable);
  return value && *value ? value : otherwise;
}

}  // namespace

std::string test_dir() {
  return from_environment("TANDEM_TEST_DATA", TANDEM_TEST_DIR);
}
std::string tool_dir() {
  return from_environment("TANDEM_TEST_PROGRAMS", TANDEM_TOOL_DIR);
}

}  // namespace tandem::testing
