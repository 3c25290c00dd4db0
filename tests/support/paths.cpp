// The only file that is compiled with absolute paths, so that a compiler cache serves every checkout.
#include "tests/support/paths.h"

namespace tandem::testing {

std::string test_dir() {
  return TANDEM_TEST_DIR;
}
std::string tool_dir() {
  return TANDEM_TOOL_DIR;
}

}  // namespace tandem::testing
