// `bench length`: the cost of a training step as segment and memory grow, and which part of it grows faster
// than the work.
#pragma once
#include <string>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {

// A segment of `unroll` (T) tokens after a memory of `memory` (M) tokens.
struct LengthPoint {
  int64_t unroll = 0, memory = 0;
};

// The cost of forward and backward passes at one point. The work of attention is the number of pairs of query
// and key that the causal mask leaves, T M + T (T + 1) / 2 in each row of the batch; the work of all else,
// and the memory of a step, is proportional to M + T.
struct LengthCost {
  LengthPoint point;
  double pairs = 0;                     // pairs of query and key in a layer, over the whole batch
  double rows = 0;                      // (M + T) times the batch
  Spread ms;                            // time of a step
  double attention_ms = 0;              // attention's part of it
  std::vector<OperatorTime> operators;  // times of all operators, slowest first
  size_t peak_bytes = 0;                // memory of a step besides parameters, gradients and carried state

  double rest_ms() const { return ms.median - attention_ms; }
  // Cost per unit of work. These must not grow with the length.
  double attention_ns() const { return 1e6 * attention_ms / pairs; }
  double rest_us() const { return 1e3 * rest_ms() / rows; }
  double bytes() const { return static_cast<double>(peak_bytes) / rows; }
};

// Measures all points in turn in each round, so that disturbances fall on all alike, and takes medians. The
// model has these sizes, on the bench device, and its memory is full. Error: fewer than one round.
std::vector<LengthCost> measure_lengths(const BenchSizes& sizes, MatmulPrecision precision,
                                        const std::vector<LengthPoint>& points, int rounds);

// Returns the greatest ratio of a value to the least value before it: at most 1 if the column, in order of
// length, never grows. Error: fewer than two values.
double growth(const std::vector<double>& column);

// The program: `bench length ...`. Returns the exit code.
int length_main(int argc, char** argv);

}  // namespace tandem
