// `bench vs-pytorch`: runs Tandem and PyTorch (or another program with the same protocol) in turn on the same
// weights and text, checks that they agree, and reports the ratios of what they measured.
#pragma once
#include <string>
#include <vector>

namespace tandem {

// A quantity that both sides measured, with one value for each round.
struct Compared {
  std::string name;
  std::vector<double> ours, theirs;
};

// Returns "| training, tokens/s | 14,641 (14,000 .. 15,000) | 12,200 (...) | 1.20 (1.15 .. 1.24) |": medians,
// minima and maxima. The ratios, ours over theirs, are formed in each round. Error: there are no rounds, or
// not as many of both.
std::string comparison_row(const Compared& quantity);

// Error: not |ours - theirs| <= tolerance |theirs|; the message has both numbers.
void check_agreement(const std::string& what, double ours, double theirs, double tolerance);

// The program: `bench vs-pytorch --with=pytorch ...`. Returns the exit code.
int versus_main(int argc, char** argv);

}  // namespace tandem
