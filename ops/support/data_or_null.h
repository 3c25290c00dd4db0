// The elements of an optional tensor.
#pragma once
#include <type_traits>

#include "tandem/core/tensor.h"

namespace tandem {

// Returns the elements of x, or null if x is undefined. T may be const.
template <class T>
T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<std::remove_const_t<T>>() : nullptr;
}

}  // namespace tandem
