// `bench compare`: Tandem and another framework, or another program of the same protocol, in turn on the same
// weights and text; what they must agree on, and the ratios of what they measured.
#pragma once
#include <string>
#include <vector>

namespace tandem {

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
