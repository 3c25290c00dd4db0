// The operator mish and its CPU kernels.
#include "mish.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"

namespace mine {
namespace cpu {

void mish_forward(const Tensor& y, const Tensor& x) {
  tandem::dispatch_float(x.dtype(), "mish", [&]<class T>() {
    T* out = y.data<T>();
    const T* in = x.data<T>();
    tandem::cpu::for_elements(x.numel(), [out, in](int64_t i, int64_t end) {
      for (; i < end; ++i) out[i] = mish_value(in[i]);
    });
  });
}

void mish_backward(const Tensor& dx, const Tensor& dy, const Tensor& x) {
  tandem::dispatch_float(x.dtype(), "mish", [&]<class T>() {
    T* out = dx.data<T>();
    const T *in = x.data<T>(), *up = dy.data<T>();
    tandem::cpu::for_elements(x.numel(), [out, in, up](int64_t i, int64_t end) {
      for (; i < end; ++i) out[i] = up[i] * mish_derivative(in[i]);
    });
  });
}

}  // namespace cpu

// The capture [x] is what the operator keeps in memory until backward has passed.
Tensor mish(const Tensor& x) {
  Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), mish_forward(y, x));
  return tandem::record("mish", y, {x}, [x](const Tensor& dy) -> tandem::Grads {
    Tensor dx = empty_like(x);
    TANDEM_DISPATCH(x.device(), mish_backward(dx, dy, x));
    return {dx};
  });
}

}  // namespace mine
