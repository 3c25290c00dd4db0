// Whether two tensors are the same to the last bit.
#pragma once
#include <cstring>

#include "tandem/core/tensor.h"

namespace tandem::testing {

// Returns whether the tensors have one shape, dtype and content, on whatever devices, or both are undefined.
inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  const Tensor x = a.to(Device::cpu()), y = b.to(Device::cpu());
  return x.shape() == y.shape() && x.dtype() == y.dtype() &&
         (x.nbytes() == 0 || std::memcmp(x.raw(), y.raw(), x.nbytes()) == 0);
}

}  // namespace tandem::testing
