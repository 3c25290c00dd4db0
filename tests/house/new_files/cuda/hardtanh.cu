// The CUDA kernels of hardtanh.
#include "tandem/ops/hardtanh.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

struct Value {
  template <class C>
  __device__ C operator()(int64_t, C x) const {
    return hardtanh_value(x);
  }
};
struct Derivative {
  template <class C>
  __device__ C operator()(int64_t, C dy, C x) const {
    return dy * hardtanh_derivative(x);
  }
};

}  // namespace

void hardtanh_forward(const Tensor& y, const Tensor& x) {
  dispatch_device_float(x.dtype(), "hardtanh",
                        [&]<class T>() { map(y.data<T>(), y.numel(), Value(), x.data<T>()); });
}

void hardtanh_backward(const Tensor& dx, const Tensor& dy, const Tensor& x) {
  dispatch_device_float(x.dtype(), "hardtanh", [&]<class T>() {
    map(dx.data<T>(), dx.numel(), Derivative(), dy.data<T>(), x.data<T>());
  });
}

}  // namespace tandem::cuda
