// Counts what the passes of a benchmark's case do.
#pragma once
#include <vector>

#include "tandem/cuda/simulator/traffic/traffic.h"
#include "tools/bench/case.h"

namespace tandem::testing {

struct CountedCase {
  std::vector<simulator::KernelTraffic> forward, backward;  // launches in order
};

// Runs a case on the simulated GPU. Launches that make inputs of the case are left out.
CountedCase count_case(const BenchCase& c);

// Returns the sum of the launches.
simulator::KernelTraffic sum_of(const std::vector<simulator::KernelTraffic>& launches);

}  // namespace tandem::testing
