// How loops are split over cores.
#pragma once
#include <cstdint>

#include "core/macros.h"

namespace tandem {

// Elements below which a loop over an array is not worth waking the other threads for. For use in
// `#pragma omp parallel for if (n > kParallelGrain)`.
inline constexpr int64_t kParallelGrain = 1 << 15;

// Bodies that differ only by element type: `FOR_FLOAT(x.dtype(), "softmax", T, kernel<T>(y, x))` runs
// kernel<float> or kernel<double>. Error naming the operator for any other dtype.
[[noreturn]] void fail_not_float(const char* what, int dtype);
// The same for kernels on a GPU, which take bf16 too.
[[noreturn]] void fail_not_floating(const char* what, int dtype);

}  // namespace tandem

#define FOR_FLOAT(dtype_value, what, T, ...)                             \
  do {                                                                   \
    const ::tandem::DType for_float_dtype = (dtype_value);               \
    if (for_float_dtype == ::tandem::DType::f32) {                       \
      using T = float;                                                   \
      __VA_ARGS__;                                                       \
    } else if (for_float_dtype == ::tandem::DType::f64) {                \
      using T = double;                                                  \
      __VA_ARGS__;                                                       \
    } else {                                                             \
      ::tandem::fail_not_float(what, static_cast<int>(for_float_dtype)); \
    }                                                                    \
  } while (0)
