// Where the sources of the tests and the built programs lie.
#pragma once
#include <string>

namespace tandem::testing {

std::string test_dir();  // the folder tests/ of the sources
std::string tool_dir();  // the folder of the programs: train, generate, ...

}  // namespace tandem::testing
