// Copies for values that are offered to a tap (core/tap.h), which are computed in f64 on the CPU.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// Returns x in f64 on the CPU, without gradient: a copy, unless x is so already. Undefined stays undefined.
inline Tensor host_f64(const Tensor& x) {
  return x.defined() ? x.detach().to(Device::cpu()).to(DType::f64) : Tensor();
}

}  // namespace tandem
