// How far one tensor is from another, found on the GPU: for checks of results too large to bring to the host.
#pragma once
#include "core/tensor.h"

namespace tandem::cuda {

struct Difference {
  double largest = 0;    // |actual - expected|; infinite where an element of either is not finite
  double magnitude = 0;  // |expected|
};

// The largest values over all elements of two tensors of one size; `actual` is floating, `expected` f64.
// Waits for the device.
Difference difference(const Tensor& actual, const Tensor& expected);

}  // namespace tandem::cuda
