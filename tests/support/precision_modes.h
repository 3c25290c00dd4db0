// The devices that a test runs on, in each precision that they multiply f32 in.
#pragma once
#include <doctest/doctest.h>

#include <vector>

#include "tandem/ops/gemm/precision.h"
#include "tests/support/devices.h"

namespace tandem::testing {

// A device and how it multiplies f32.
struct Mode {
  Device device;
  MatmulPrecision precision;
  bool exact() const { return precision == MatmulPrecision::f32; }
};

inline std::vector<Mode> modes() {
  std::vector<Mode> all = {{Device::cpu(), MatmulPrecision::f32}};
  if (cpu_has_bf16())
    all.push_back({Device::cpu(), MatmulPrecision::bf16});
  else
    MESSAGE("skipped in bf16: this CPU has none");
  if (has_cuda())
    for (const auto precision : {MatmulPrecision::f32, MatmulPrecision::tf32, MatmulPrecision::bf16})
      all.push_back({Device::cuda(), precision});
  return all;
}

}  // namespace tandem::testing
