// Runs a built program as a user would; gives its exit code and what it wrote to stdout and stderr.
#pragma once
#include <sys/wait.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tests/support/files.h"
#include "tests/support/paths.h"

namespace tandem::testing {

struct ToolRun {
  int exit_code = -1;
  std::string out, err;
};

inline std::string shell_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

// run_tool("generate", {"--bytes=4", "--prompt=it's"}).
inline ToolRun run_tool(const std::string& tool, const std::vector<std::string>& arguments,
                        const std::string& input = "") {
  const TempDir folder;
  write_text(folder / "in", input);
  std::string command = shell_quoted(tool_dir() + "/" + tool);
  for (const std::string& argument : arguments) command += " " + shell_quoted(argument);
  command +=
      " <" + (folder / "in").string() + " >" + (folder / "out").string() + " 2>" + (folder / "err").string();
  const int status = std::system(command.c_str());
  ToolRun run;
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  run.out = read_text(folder / "out");
  run.err = read_text(folder / "err");
  return run;
}

}  // namespace tandem::testing
