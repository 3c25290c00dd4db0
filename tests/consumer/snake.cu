// The CUDA kernels of snake. nvcc compiles them for a GPU; a Tandem with a simulated GPU runs them on the CPU.
#include "snake.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace prototype::cuda {
namespace {

using namespace tandem::cuda;

constexpr int kThreads = 128;

// Functions of the elements, for map(). alpha repeats every `width` elements.
template <class T>
struct Value {
  const T* alpha;
  int64_t width;
  template <class C>
  __device__ C operator()(int64_t i, C x) const {
    const C f = static_cast<C>(alpha[i % width]), s = sin(f * x);
    return x + s * s / f;
  }
};
template <class T>
struct Derivative {
  const T* alpha;
  int64_t width;
  template <class C>
  __device__ C operator()(int64_t i, C dy, C x) const {
    return dy * (C(1) + sin(C(2) * static_cast<C>(alpha[i % width]) * x));
  }
};

// A thread sums over the rows of one channel, in one order.
template <class T>
__global__ void sum_channel(T* dalpha, const T* dy, const T* x, const T* alpha, int64_t width, int64_t n) {
  using C = Compute<T>;
  const int64_t d = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (d >= width) return;
  const C f = static_cast<C>(alpha[d]);
  C sum = 0;
  for (int64_t i = d; i < n; i += width) {
    const C in = static_cast<C>(x[i]), s = sin(f * in);
    sum += static_cast<C>(dy[i]) * (in * sin(C(2) * f * in) - s * s / f) / f;
  }
  dalpha[d] = static_cast<T>(static_cast<C>(dalpha[d]) + sum);
}

}  // namespace

void snake_forward(const Tensor& y, const Tensor& x, const Tensor& alpha) {
  tandem::dispatch_device_float(x.dtype(), "snake", [&]<class T>() {
    map(y.data<T>(), y.numel(), Value<T>{alpha.data<T>(), alpha.numel()}, x.data<T>());
  });
}

void snake_backward(const Tensor& dx, const Tensor& dalpha, const Tensor& dy, const Tensor& x,
                    const Tensor& alpha) {
  const int64_t width = alpha.numel();
  tandem::dispatch_device_float(x.dtype(), "snake", [&]<class T>() {
    map(dx.data<T>(), dx.numel(), Derivative<T>{alpha.data<T>(), width}, dy.data<T>(), x.data<T>());
    launch(sum_channel<T>, blocks_for(width, kThreads), kThreads, 0, compute_stream(), dalpha.data<T>(),
           dy.data<T>(), x.data<T>(), alpha.data<T>(), width, x.numel());
  });
}

}  // namespace prototype::cuda
