// The output that tools/README.md shows is the output of the programs.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>
#include <sstream>

#include "tests/support/errors.h"
#include "tests/support/files.h"
#include "tests/support/golden.h"
#include "tests/support/paths.h"
#include "tests/support/run_tool.h"

namespace tandem::testing {
namespace {

// Replaces the numbers of a line of times, which differ from run to run, by #.
std::string without_times(const std::string& line) {
  if (!line.starts_with("time: ")) return line;
  std::string shape;
  for (const char c : line)
    if (std::isdigit(static_cast<unsigned char>(c)) == 0)
      shape += c;
    else if (!shape.ends_with('#'))
      shape += '#';
  return shape;
}

// Returns the output that the page shows for a command: the lines of `name: value` in the block of code that
// follows it.
std::vector<std::string> shown_below(const std::string& page, const std::string& command) {
  std::istringstream in(page.substr(std::min(page.find(command), page.size())));
  std::vector<std::string> lines;
  std::string line;
  std::getline(in, line);
  for (bool block = false; std::getline(in, line);) {
    if (line.starts_with("    "))
      lines.push_back(line.substr(4)), block = true;
    else if (block)
      break;
  }
  return lines;
}

}  // namespace

TEST_CASE("tools/README.md: the output of evaluate is what evaluate prints") {
  const std::string page = read_text(test_dir() + "/../tools/README.md");
  const std::vector<std::string> shown = shown_below(page, "--corpus=tests/golden/srupp/text.bin");
  REQUIRE(shown.size() == 5);
  const ToolRun run =
      run_tool("evaluate", {"--checkpoint=" + golden_path("srupp/weights.safetensors"),
                            "--corpus=" + golden_path("srupp/text.bin"), "--split=all", "--window=32"});
  CAPTURE(run.err);
  REQUIRE(run.exit_code == 0);
  std::vector<std::string> printed;
  std::istringstream out(run.out);
  for (std::string line; std::getline(out, line);) printed.push_back(without_times(line));
  for (const std::string& line : shown) {
    CAPTURE(line);
    CHECK(std::find(printed.begin(), printed.end(), without_times(line)) != printed.end());
  }
  CHECK(std::any_of(shown.begin(), shown.end(),
                    [](const std::string& line) { return line.starts_with("context: "); }));
}

TEST_CASE("tools: --help of every program lists its flags, shows an example and exits with 0") {
  for (const char* tool : {"train", "evaluate", "generate", "prune", "quantize", "export", "bench"}) {
    CAPTURE(tool);
    const ToolRun run = run_tool(tool, {"--help"});
    CHECK(run.exit_code == 0);
    CHECK(contains(run.out, "Example"));
    CHECK(contains(run.out, "--help"));
    CHECK(run.err.empty());
    std::istringstream out(run.out);
    for (std::string line; std::getline(out, line);) {
      CAPTURE(line);
      if (line.find('{') == std::string::npos) CHECK(line.size() <= 120);  // lists of values are one line
    }
  }
}

}  // namespace tandem::testing
