// The passes of a case, told apart by running ever more of them.
#include "tests/cuda/traffic/counted_case.h"

namespace tandem::testing {

using simulator::KernelTraffic;
using simulator::TrafficCount;

CountedCase count_case(const BenchCase& c) {
  const auto launches = [&c](CasePart last) {
    const TrafficCount count;
    c.run_once(last);
    return count.launches();
  };
  launches(c.has_backward ? CasePart::backward : CasePart::forward);  // makes what later runs find
  const auto made = static_cast<ptrdiff_t>(launches(CasePart::inputs).size());
  CountedCase counted;
  counted.forward = launches(CasePart::forward);
  const auto in_forward = static_cast<ptrdiff_t>(counted.forward.size());
  if (c.has_backward) {
    const std::vector<KernelTraffic> both = launches(CasePart::backward);
    counted.backward.assign(both.begin() + in_forward, both.end());
  }
  counted.forward.erase(counted.forward.begin(), counted.forward.begin() + made);
  return counted;
}

KernelTraffic sum_of(const std::vector<KernelTraffic>& launches) {
  KernelTraffic sum;
  for (const KernelTraffic& launch : launches) sum += launch;
  return sum;
}

}  // namespace tandem::testing
