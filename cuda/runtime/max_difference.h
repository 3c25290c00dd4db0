// The largest difference of two tensors, computed on the GPU: for checks of results that are too large to
// copy to the host.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem::cuda {

struct Difference {
  double largest = 0;    // |actual - expected|; infinite where an element of either is not finite
  double magnitude = 0;  // |expected|
};

// Returns the largest values over all elements of two tensors of one size. `actual` has a floating dtype,
// `expected` is f64. Waits for the device.
Difference difference(const Tensor& actual, const Tensor& expected);

}  // namespace tandem::cuda
