// How long idle threads of the programs spin: the settings that libgomp prints.
#include <doctest/doctest.h>

#include <cstdlib>

#include "tests/support/errors.h"
#include "tests/support/paths.h"
#include "tests/support/run_tool.h"

using namespace tandem::testing;

namespace {

// Returns the settings that libgomp prints when generate starts in this environment, for the last of its starts.
std::string settings(const std::string& environment) {
  const TempDir folder;
  const std::string command = "env -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT OMP_DISPLAY_ENV=verbose " +
                              environment + " " + shell_quoted(tool_dir() + "/generate") + " --help >" +
                              (folder / "out").string() + " 2>" + (folder / "err").string();
  REQUIRE(std::system(command.c_str()) == 0);
  CHECK(contains(read_text(folder / "out"), "Usage: "));
  const std::string all = read_text(folder / "err");
  const size_t last = all.rfind("DISPLAY ENVIRONMENT BEGIN");
  REQUIRE(last != std::string::npos);
  return all.substr(last);
}

}  // namespace

TEST_CASE("limit_openmp_spinning: idle threads spin briefly, or as the environment says") {
#ifdef __clang__
  MESSAGE("skipped: clang links another OpenMP library");
  return;
#endif
  CHECK(contains(settings(""), "GOMP_SPINCOUNT = '10000'"));
  CHECK(contains(settings("GOMP_SPINCOUNT=77"), "GOMP_SPINCOUNT = '77'"));
  CHECK(contains(settings("OMP_WAIT_POLICY=active"), "OMP_WAIT_POLICY = 'ACTIVE'"));
  CHECK(!contains(settings("OMP_WAIT_POLICY=active"), "GOMP_SPINCOUNT = '10000'"));
  CHECK(!contains(settings("TANDEM_NO_REEXEC=1"), "GOMP_SPINCOUNT = '10000'"));
  CHECK(contains(settings("TANDEM_NO_REEXEC=0"), "GOMP_SPINCOUNT = '10000'"));
}
