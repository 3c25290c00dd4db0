// Checks and times cases, and formats the lines that are printed about them.
#pragma once
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tools/bench/case.h"
#include "tools/bench/peak.h"

namespace tandem {

// Measurements of a case.
struct BenchResult {
  double error = 0;
  size_t peak_bytes = 0;  // peak memory of both passes: results and gradients, without the inputs
  Spread forward_ms, backward_ms;
  double forward_copy_gbs = 0,
         backward_copy_gbs = 0;  // best rate of a copy of as many bytes; 0: not bound by memory
  // Times in units of the floor in the same round, a product or a copy; 0: there is nothing to measure.
  Spread forward_floors, backward_floors;
};

// Checks the case (see check_case), warms up, and times it and its floors in `rounds` alternating rounds. A
// round repeats short runs until they add up to a few milliseconds.
BenchResult run_case(const BenchCase& c, int rounds);

// Returns two lines, forward and backward: ms (min .. max), rate, share of which peak; the second also has
// the error and the peak memory.
std::string result_text(const BenchCase& c, const BenchResult& result, const Peaks& peaks);
std::string result_header();

// The peaks of the bench device, with every shape and size that was tried.
struct PeakTable {
  struct Copy {
    size_t bytes = 0;
    double gbs = 0;
  };
  std::vector<std::pair<MatmulPrecision, GemmPeak>> products;  // for each precision that the device has
  std::vector<Copy> copies;                                    // largest first
  double read_gbs = 0;                                         // rate of reading memory_bytes(); 0 on a GPU

  Peaks peaks() const;
};
PeakTable measure_peak_table(int rounds);
std::string peak_text(const PeakTable& table);

}  // namespace tandem
