// Checking and timing cases, and the lines that are printed about them.
#pragma once
#include <functional>
#include <string>

#include "tools/support/bench_case.h"
#include "tools/support/bench_peak.h"

namespace tandem {

// What a case measured: error() and the times of each pass, with what they are held against.
struct BenchResult {
  double error = 0;
  size_t peak_bytes = 0;  // that a pass forward and back takes at most, gradients included, inputs not
  Spread forward_ms, backward_ms;
  double forward_copy_gbs = 0, backward_copy_gbs = 0;  // best copy of as many bytes; 0: not bound by memory
};

// Checks the case (see check_case), warms up, and times it and the copies in `rounds` alternating rounds. A
// round repeats short runs until they add up to a few milliseconds.
BenchResult run_case(const BenchCase& c, int rounds);

// Two lines, forward and backward: ms (min .. max), rate, share of the peak and which peak; then the error
// and the memory taken.
std::string result_text(const BenchCase& c, const BenchResult& result, const Peaks& peaks);
std::string result_header();

// The peaks of the bench device: every shape and size that was tried.
std::string peak_text(int rounds);

}  // namespace tandem
