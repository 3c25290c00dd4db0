// lstm: one product and one kernel for each time step.
#include "tandem/ops/lstm.h"

#include "tandem/autograd/leaf.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/cuda/runtime/gemm.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem::cuda {
namespace {

// The sums of unit j of a row whose four planes begin at `gates`.
template <class C, class T>
__device__ __forceinline__ LstmGates<C> load_sums(const T* gates, const C* bias, int64_t j, int64_t width) {
  const auto sum = [=](int64_t at) { return static_cast<C>(gates[at]) + bias[at]; };
  return {sum(j), sum(width + j), sum(2 * width + j), sum(3 * width + j)};
}

template <class T, class C>
__global__ void __launch_bounds__(kMapThreads)
    forward_step(T* h, C* c, const T* gates, const C* bias, const C* c_before, int64_t size, int64_t width) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= size) return;
  const int64_t row = i / width;
  const LstmStep<C> step =
      lstm_step(load_sums(gates + 4 * row * width, bias, i - row * width, width), c_before[i]);
  c[i] = step.c;
  h[i] = static_cast<T>(step.h);
}

// dh may be null, which means zeros.
template <class T, class C>
__global__ void __launch_bounds__(kMapThreads)
    backward_step(T* gates, C* dc, const T* dh, const C* dh_carry, const C* bias, const C* c_before,
                  const C* c, int64_t size, int64_t width) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= size) return;
  const int64_t row = i / width, j = i - row * width;
  gates += 4 * row * width;
  const LstmStepGrad<C> d = lstm_step_backward(load_sums(gates, bias, j, width), c_before[i], c[i],
                                               dh_carry[i] + (dh ? static_cast<C>(dh[i]) : C(0)), dc[i]);
  gates[j] = static_cast<T>(d.gates.input);
  gates[width + j] = static_cast<T>(d.gates.forget);
  gates[2 * width + j] = static_cast<T>(d.gates.cell);
  gates[3 * width + j] = static_cast<T>(d.gates.output);
  dc[i] = d.c_before;
}

template <class T>
void forward(const LstmSteps& steps, const LstmInputs& in) {
  using C = Compute<T>;
  const int64_t batch = steps.h.size(1), width = steps.h.size(2), size = batch * width;
  const Tensor weight = weight_as(in.weights.hidden, dtype_of<T>());
  Gemm product = linear_product(batch, weight, in.precision);
  product.accumulate = true;
  const GemmTypes types{dtype_of<T>(), dtype_of<T>(), dtype_of<T>()};
  const T* h_before = in.h0.data<T>();
  const C* c_before = in.c0.data<C>();
  for (int64_t t = 0; t < steps.h.size(0); ++t) {
    T *h = steps.h.data<T>() + t * size, *gates = steps.gates.data<T>() + 4 * t * size;
    C* c = steps.c.data<C>() + t * size;
    gemm(gates, h_before, weight.raw(), product, types);
    launch(forward_step<T, C>, blocks_for(size, kMapThreads), kMapThreads, 0, compute_stream(), h, c, gates,
           in.weights.hidden_bias.data<C>(), c_before, size, width);
    h_before = h;
    c_before = c;
  }
}

template <class T>
void backward(const Tensor& dh_carry, const Tensor& dc_carry, const Tensor& dh, const LstmSteps& steps,
              const LstmInputs& in) {
  using C = Compute<T>;
  const int64_t batch = steps.h.size(1), width = steps.h.size(2), size = batch * width;
  const Tensor weight = weight_as(in.weights.hidden, dtype_of<T>());
  const Gemm product = linear_input_product(batch, weight, in.precision);
  const GemmTypes types{dtype_of<C>(), dtype_of<T>(), dtype_of<T>()};
  for (int64_t t = steps.h.size(0) - 1; t >= 0; --t) {
    T* gates = steps.gates.data<T>() + 4 * t * size;
    const C* c = steps.c.data<C>() + t * size;
    launch(backward_step<T, C>, blocks_for(size, kMapThreads), kMapThreads, 0, compute_stream(), gates,
           dc_carry.data<C>(), dh.defined() ? dh.data<T>() + t * size : nullptr, dh_carry.data<C>(),
           in.weights.hidden_bias.data<C>(), t > 0 ? c - size : in.c0.data<C>(), c, size, width);
    if (t > 0 || needs_grad(in.h0)) gemm(dh_carry.raw(), gates, weight.raw(), product, types);
  }
}

}  // namespace

void lstm_forward(const LstmSteps& steps, const LstmInputs& in) {
  dispatch_device_float(in.x.dtype(), "lstm", [&]<class T>() { forward<T>(steps, in); });
}

void lstm_backward(const Tensor& dh_carry, const Tensor& dc_carry, const Tensor& dh, const LstmSteps& steps,
                   const LstmInputs& in) {
  dispatch_device_float(in.x.dtype(), "lstm",
                        [&]<class T>() { backward<T>(dh_carry, dc_carry, dh, steps, in); });
}

}  // namespace tandem::cuda
