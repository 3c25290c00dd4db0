// Checking and timing cases, and the lines that are printed about them.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tools/bench/case.h"
#include "tools/bench/peak.h"

namespace tandem {

// What a case measured: error() and the times of each pass, with what they are held against.
struct BenchResult {
  double error = 0;
  size_t peak_bytes = 0;  // that a pass forward and back takes at most, gradients included, inputs not
  Spread forward_ms, backward_ms;
  double forward_copy_gbs = 0, backward_copy_gbs = 0;  // best copy of as many bytes; 0: not bound by memory
  // Times over those of the floor of the same round, a product or a copy; 0: there is nothing to measure.
  Spread forward_floors, backward_floors;
};

// Checks the case (see check_case), warms up, and times it and its floors in `rounds` alternating rounds. A
// round repeats short runs until they add up to a few milliseconds.
BenchResult run_case(const BenchCase& c, int rounds);

// Two lines, forward and backward: ms (min .. max), rate, share of the peak and which peak; then the error
// and the memory taken.
std::string result_text(const BenchCase& c, const BenchResult& result, const Peaks& peaks);
std::string result_header();

// The peaks of the bench device: every shape and size that was tried.
struct PeakTable {
  struct Copy {
    size_t bytes = 0;
    double gbs = 0;
  };
  std::vector<std::pair<MatmulPrecision, GemmPeak>> products;  // in precisions that the device has
  std::vector<Copy> copies;                                    // the largest first
  double read_gbs = 0;                                         // of memory_bytes(); 0 on a GPU

  Peaks peaks() const;
};
PeakTable measure_peak_table(int rounds);
std::string peak_text(const PeakTable& table);

}  // namespace tandem
