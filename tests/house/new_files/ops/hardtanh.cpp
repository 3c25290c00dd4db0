// The CPU kernels of hardtanh, and its tape entry.
#include "tandem/ops/hardtanh.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace cpu {

void hardtanh_forward(const Tensor& y, const Tensor& x) {
  dispatch_float(x.dtype(), "hardtanh", [&]<class T>() {
    T* out = y.data<T>();
    const T* in = x.data<T>();
    for_elements(x.numel(), [out, in](int64_t i, int64_t end) {
      for (; i < end; ++i) out[i] = hardtanh_value(in[i]);
    });
  });
}

void hardtanh_backward(const Tensor& dx, const Tensor& dy, const Tensor& x) {
  dispatch_float(x.dtype(), "hardtanh", [&]<class T>() {
    T* out = dx.data<T>();
    const T *in = x.data<T>(), *arriving = dy.data<T>();
    for_elements(x.numel(), [out, in, arriving](int64_t i, int64_t end) {
      for (; i < end; ++i) out[i] = arriving[i] * hardtanh_derivative(in[i]);
    });
  });
}

}  // namespace cpu

// y = min(max(x, -1), 1):  dx = dy where -1 <= x <= 1, else 0.
Tensor hardtanh(const Tensor& x) {
  check_floating("hardtanh", {{"x", x}});
  Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), hardtanh_forward(y, x));
  return record("hardtanh", y, {x}, [x](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(x);
    TANDEM_DISPATCH(x.device(), hardtanh_backward(dx, dy, x));
    return {dx};
  });
}

}  // namespace tandem
