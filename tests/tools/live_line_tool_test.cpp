// The line that train overwrites on a terminal.
#include <doctest/doctest.h>
#include <pty.h>

#include "tests/support/errors.h"
#include "tests/support/train_process.h"

using namespace tandem;
using namespace tandem::testing;
namespace fs = std::filesystem;

namespace {

// Runs train on a terminal of so many columns. Returns what it has shown there.
std::string shown_on_terminal(const TempDir& folder, const std::vector<std::string>& arguments,
                              unsigned short columns) {
  winsize size{};
  size.ws_row = 24;
  size.ws_col = columns;
  int terminal = -1;
  const pid_t pid = forkpty(&terminal, nullptr, nullptr, &size);
  REQUIRE(pid >= 0);
  if (pid == 0) become_train(folder, arguments);
  std::string shown;
  char buffer[4096];
  for (ssize_t count = 0; (count = read(terminal, buffer, sizeof buffer)) > 0;)
    shown.append(buffer, static_cast<size_t>(count));
  close(terminal);
  int status = 0;
  waitpid(pid, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  return shown;
}

// Returns the texts that were drawn over. Lines that stay tell the learning rate, which these do not.
std::vector<std::string> live_lines(const std::string& shown) {
  const std::string begin = "\r\x1b[Kstep ";
  std::vector<std::string> lines;
  for (size_t at = shown.find(begin); at != std::string::npos; at = shown.find(begin, at + 1)) {
    const size_t first = at + begin.size() - 5;
    const std::string line = shown.substr(first, shown.find_first_of("\r\n", first) - first);
    if (line.find("  lr ") == std::string::npos) lines.push_back(line);
  }
  return lines;
}

}  // namespace

TEST_CASE(
    "train: the live line tells the smoothed loss, the best score, and when the evaluation and the end come") {
  const TempDir folder;
  const fs::path text = write_sample(folder);
  // Steps of so many segments that lines are drawn between those of --log-every.
  const std::vector<std::string> arguments = small_run(
      text, "run", {"--steps=40", "--accumulate=64", "--eval-every=20", "--log-every=1000", "--no-test"});
  const std::vector<std::string> lines = live_lines(shown_on_terminal(folder, arguments, 200));
  REQUIRE(!lines.empty());
  for (const std::string& line : lines) {
    CAPTURE(line);
    for (const char* part : {"/40  loss ", " bpc) smoothed", "k tok/s  evaluation in ", "  ETA "})
      CHECK(contains(line, part));
    const bool evaluated = std::stoi(line.substr(5)) > 20;
    CHECK(contains(line, "  best dev ") == evaluated);
  }
  std::vector<std::string> narrow = arguments;
  narrow[1] = "--out=narrow";
  const std::vector<std::string> cut = live_lines(shown_on_terminal(folder, narrow, 40));
  REQUIRE(!cut.empty());
  for (const std::string& line : cut) CHECK(line.size() <= 39);
}
