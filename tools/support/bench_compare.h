// `bench compare`: Tandem and another framework, or another program of the same protocol, in turn on the same
// weights and text; what they must agree on, and the ratios of what they measured.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace tandem {

// A process that has ended well.
struct ChildRun {
  std::vector<std::string> lines;  // of its stdout
  double first_line_s = 0;         // from just before its start to its first line; 0 without one
  int64_t peak_bytes = 0;          // the most that was resident, as the system counted
};

// Runs a command, found on the PATH, and waits for it. Error: it cannot be started, or ends with another exit
// code than 0; with the end of what it wrote to stderr.
ChildRun run_child(const std::vector<std::string>& command);

// One quantity, by round.
struct Compared {
  std::string name;
  std::vector<double> ours, theirs;
};

// "| training, tokens/s | 14,641 (14,000 .. 15,000) | 12,200 (...) | 1.20 (1.15 .. 1.24) |": medians, and the
// least and the most; ratios, ours over theirs, are formed in each round. Error: no rounds, or not as many of
// both.
std::string comparison_row(const Compared& quantity);

// Error, with both numbers, unless |ours - theirs| <= tolerance |theirs|.
void check_agreement(const std::string& what, double ours, double theirs, double tolerance);

// The program: `bench compare --with=pytorch ...`. Returns the exit code.
int compare_main(int argc, char** argv);

}  // namespace tandem
