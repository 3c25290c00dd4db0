// Finds the sources of the tests and the built programs: where they were built, or where the environment says, so that tests
// that were moved to another machine find their data.
#pragma once
#include <string>

namespace tandem::testing {

// Returns the folder tests/ of the sources: TANDEM_TEST_DATA in the environment, or that of the build.
std::string test_dir();
// Returns the folder of the programs train, generate, ...: TANDEM_TEST_PROGRAMS in the environment, or that of the build.
std::string tool_dir();

}  // namespace tandem::testing
