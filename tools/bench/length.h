// `bench length`: what a step of a model costs as segments and memory grow, and which part of it grows faster
// than it must.
#pragma once
#include <string>
#include <vector>

#include "autograd/tape.h"
#include "tools/bench/operators.h"
#include "tools/bench/timing.h"

namespace tandem {

// A segment of T rows behind a memory of M.
struct LengthPoint {
  int64_t unroll = 0, memory = 0;
};

// Forward and backward passes at one point. Attention's work is the triangle of its causal mask with the
// memory beside it; that of all else, and the bytes that a step needs, are M + T rows.
struct LengthCost {
  LengthPoint point;
  double pairs = 0;                     // of queries and keys that a layer computes, times the batch
  double rows = 0;                      // M + T, times the batch
  Spread ms;                            // a step
  double attention_ms = 0;              // of it
  std::vector<OperatorTime> operators;  // the same, slowest first; of all of a step
  size_t peak_bytes = 0;                // that it adds to parameters, gradients and carried state

  double rest_ms() const { return ms.median - attention_ms; }
  // The columns that must not grow with the length.
  double attention_ns() const { return 1e6 * attention_ms / pairs; }
  double rest_us() const { return 1e3 * rest_ms() / rows; }
  double bytes() const { return static_cast<double>(peak_bytes) / rows; }
};

// All points in turn in each of the rounds, so that what else the machine does falls on all alike; medians.
// The model is that of the sizes, on the bench device, its memory full. Error: no rounds.
std::vector<LengthCost> measure_lengths(const BenchSizes& sizes, MatmulPrecision precision,
                                        const std::vector<LengthPoint>& points, int rounds);

// By how much a column, in order of length, exceeds the least before it at most: 1 or below where it never
// grows. Error: fewer than two values.
double growth(const std::vector<double>& column);

// The program: `bench length ...`. Returns the exit code.
int length_main(int argc, char** argv);

}  // namespace tandem
