// Sizes that the tests of bench share, and questions that they ask about the bench device.
#pragma once
#include <string>
#include <vector>

#include "tandem/core/caching_allocator.h"
#include "tools/bench/operators.h"
#include "tools/bench/peak.h"

namespace tandem::testing {

inline BenchSizes small_bench_sizes(const std::string& preset = "laptop-published") {
  BenchSizes overrides;
  overrides.unroll = 12;
  overrides.batch_size = 3;
  overrides.d = 40;
  overrides.d_projected = 16;
  overrides.heads = 2;
  overrides.vocabulary = 7;
  overrides.words = 500;
  return bench_sizes(preset, overrides);
}

// Returns the precisions that the bench device has.
inline std::vector<MatmulPrecision> bench_precisions() {
  std::vector<MatmulPrecision> all;
  for (const MatmulPrecision precision : {MatmulPrecision::f32, MatmulPrecision::tf32, MatmulPrecision::bf16})
    if (bench_has(precision)) all.push_back(precision);
  return all;
}

// Whether a GPU's steps and cases can be graphs.
inline bool allocator_allows_graphs() {
  return allocator_mode_from_environment() != AllocatorMode::direct;
}

}  // namespace tandem::testing
