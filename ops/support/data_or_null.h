// The elements of an optional tensor.
#pragma once
#include "core/tensor.h"

namespace tandem {

// Returns x.data<T>(), or null if x is undefined.
template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

}  // namespace tandem
