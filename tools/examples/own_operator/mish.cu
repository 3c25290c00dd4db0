// The CUDA kernels of mish. nvcc compiles this file; -DTANDEM_CUDA=SIMULATE compiles it as C++ for the simulated GPU.
#include "mish.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace mine::cuda {
namespace {

// map() calls these for every element, in f32 where the tensor is bf16.
struct Value {
  template <class C>
  __device__ C operator()(int64_t, C x) const {
    return mish_value(x);
  }
};
struct Derivative {
  template <class C>
  __device__ C operator()(int64_t, C dy, C x) const {
    return dy * mish_derivative(x);
  }
};

}  // namespace

void mish_forward(const Tensor& y, const Tensor& x) {
  tandem::dispatch_device_float(
      x.dtype(), "mish", [&]<class T>() { tandem::cuda::map(y.data<T>(), y.numel(), Value(), x.data<T>()); });
}

void mish_backward(const Tensor& dx, const Tensor& dy, const Tensor& x) {
  tandem::dispatch_device_float(x.dtype(), "mish", [&]<class T>() {
    tandem::cuda::map(dx.data<T>(), dx.numel(), Derivative(), dy.data<T>(), x.data<T>());
  });
}

}  // namespace mine::cuda
