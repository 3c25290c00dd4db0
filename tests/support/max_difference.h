// How far a tensor is from the one expected.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

#include "tandem/core/tensor.h"

namespace tandem::testing {

// Largest |a - b| over the tensor, divided by the largest |b|, or by 1 where b is all zero. Infinite when a
// shape differs, or where one has a NaN. Any two floating dtypes and devices.
inline double relative_error(const Tensor& a, const Tensor& b) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (a.shape() != b.shape()) return kInfinity;
  const Tensor x = a.detach().to(Device::cpu()).to(DType::f64),
               y = b.detach().to(Device::cpu()).to(DType::f64);
  double difference = 0, largest = 0;
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double u = x.data<double>()[i], v = y.data<double>()[i];
    if (u == v) continue;  // also two equal infinities
    if (!std::isfinite(u) || !std::isfinite(v)) return kInfinity;
    difference = std::max(difference, std::abs(u - v));
  }
  for (const double v : y.span<double>())
    if (std::isfinite(v)) largest = std::max(largest, std::abs(v));
  return difference / (largest > 0 ? largest : 1.0);
}

}  // namespace tandem::testing
