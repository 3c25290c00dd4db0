// Holds what the kernels of a pass move against what the benchmarks say that it must move at least. Each byte counts once a
// launch, so that a byte that two launches read counts twice.
#include <doctest/doctest.h>

#include <map>

#include "tests/cuda/traffic/counted_case.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {
namespace {

struct Margins {
  double forward, backward;  // most that is moved, in units of what is predicted
};

// Operators whose work is memory traffic. A prediction leaves out what is small beside the rows: parameters, statistics,
// sums of parts. It may not be more than a tenth too large.
const std::map<std::string, Margins> kOperators = {
    {"activation", {1, 1}},
    {"chunk_sum", {1, 1}},
    {"cross_entropy", {1.19, 1.04}},  // rows of 64 logits, beside which losses in f64 are not small
    {"dropout", {1.01, 1.01}},
    {"layer_norm",
     {1.03, 1.36}},  // backward writes and reads sums of every 8 rows, in f32, for gain and bias
    {"max", {1.05, 1.05}},
    {"optimizer_step", {1.01, 1}},
    {"rms_norm",
     {1.01, 2.37}},  // backward writes the terms of the gain's gradient, in f32, and reads them again
    {"softmax", {1.02, 1.03}},  // what is masked ends within vectors
    {"sru_scan", {1.03, 1.06}},
};

TEST_CASE("cuda predicted traffic: kernels move what the benchmarks count, each operator within its margin") {
  const BenchDeviceScope on(Device::cuda());
  BenchSizes overrides;
  overrides.unroll = 64, overrides.batch_size = 4, overrides.d = 256, overrides.d_projected = 128;
  overrides.vocabulary = 64;
  const BenchSizes sizes = bench_sizes("laptop", overrides);
  for (const auto& [op, margins] : kOperators)
    for (const MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::bf16})
      for (const BenchCase& c : bench_cases(op, sizes, precision)) {
        CAPTURE(op);
        CAPTURE(c.name);
        const std::string in = name_of(precision);
        CAPTURE(in);
        const testing::CountedCase counted = testing::count_case(c);
        const auto check = [](double predicted, const std::vector<simulator::KernelTraffic>& launches,
                              double margin) {
          if (predicted == 0) return;
          const simulator::KernelTraffic sum = testing::sum_of(launches);
          const double moved = static_cast<double>(sum.read.distinct + sum.written.distinct);
          CAPTURE(moved / predicted);
          CHECK(moved <= margin * predicted);
          CHECK(moved >= 0.9 * predicted);
        };
        check(c.forward.bytes, counted.forward, margins.forward);
        check(c.backward.bytes, counted.backward, margins.backward);
      }
}

}  // namespace
}  // namespace tandem
