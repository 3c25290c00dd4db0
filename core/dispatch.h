// Choosing a kernel at run time: by device (TANDEM_DISPATCH) and by element type (dispatch_float, dispatch_dtype).
#pragma once
#include <cstdint>

#include "tandem/core/dtype.h"

namespace tandem {

#ifdef TANDEM_WITH_CUDA
inline constexpr bool kWithCuda = true;
#else
inline constexpr bool kWithCuda = false;
#endif

// Throw an Error that names the operator, the dtype and the supported dtypes.
[[noreturn]] void fail_not_float(const char* op, DType dtype);         // CPU kernels: f32 or f64
[[noreturn]] void fail_not_device_float(const char* op, DType dtype);  // GPU kernels: f32, f64 or bf16
// Throws the Error of TANDEM_DISPATCH_CPU. `call` is the text of the call; it begins with the name of the kernel.
[[noreturn]] void fail_no_gpu_kernel(const char* call);

// Calls f<float>() or f<double>():
//     dispatch_float(x.dtype(), "softmax", [&]<class T>() { forward(y.data<T>(), x.data<T>(), rows, columns); });
// Error: any other dtype; the message names the operator.
template <class F>
void dispatch_float(DType dtype, const char* op, const F& f) {
  if (dtype == DType::f32) {
    f.template operator()<float>();
  } else if (dtype == DType::f64) {
    f.template operator()<double>();
  } else {
    fail_not_float(op, dtype);
  }
}

// The same for GPU kernels, which support bf16 too.
template <class F>
void dispatch_device_float(DType dtype, const char* op, const F& f) {
  if (dtype == DType::f32) {
    f.template operator()<float>();
  } else if (dtype == DType::bf16) {
    f.template operator()<bf16>();
  } else if (dtype == DType::f64) {
    f.template operator()<double>();
  } else {
    fail_not_device_float(op, dtype);
  }
}

// Calls f<T>() with the element type T of `dtype`, which may be any.
template <class F>
void dispatch_dtype(DType dtype, const F& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    case DType::bf16:
      return f.template operator()<bf16>();
    case DType::i32:
      return f.template operator()<int32_t>();
    case DType::i64:
      return f.template operator()<int64_t>();
    case DType::u8:
      return f.template operator()<uint8_t>();
  }
}

}  // namespace tandem

// Calls tandem::cuda::call if `device` is a GPU, else tandem::cpu::call. In a build without CUDA the compiler checks
// the first and discards it: there are no stubs and no #ifdef. Use it inside namespace tandem, or inside a namespace
// that holds kernels in namespaces cpu and cuda of its own.
#define TANDEM_DISPATCH(device, call)    \
  do {                                   \
    if constexpr (::tandem::kWithCuda) { \
      if ((device).is_cuda()) {          \
        cuda::call;                      \
        break;                           \
      }                                  \
    }                                    \
    cpu::call;                           \
  } while (0)

// Calls cpu::call, for an operator that has no GPU kernel yet. Error: `device` is a GPU; the message names the kernel.
#define TANDEM_DISPATCH_CPU(device, call)                        \
  do {                                                           \
    if ((device).is_cuda()) ::tandem::fail_no_gpu_kernel(#call); \
    cpu::call;                                                   \
  } while (0)
