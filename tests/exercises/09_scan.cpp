// A right answer to exercise 9.
#include <vector>

#include "tandem/autograd/tape.h"

using namespace tandem;

// h_t = a_t h_{t-1} + x_t:  dx_t = dy_t + a_{t+1} dx_{t+1},  da_t = dx_t h_{t-1},  dh0 = a_0 dx_0.
Tensor linear_scan(const Tensor& a, const Tensor& x, const Tensor& h0) {
  const int64_t steps = a.size(0), width = a.size(1);
  Tensor h = empty_like(x);
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double before = i < width ? h0.data<double>()[i] : h.data<double>()[i - width];
    h.data<double>()[i] = a.data<double>()[i] * before + x.data<double>()[i];
  }
  const Tensor saved = h.detach();
  return record("linear_scan", h, {a, x, h0}, [a, saved, h0, steps, width](const Tensor& dy) -> Grads {
    Tensor da = empty_like(a), dx = empty_like(a), dh = zeros_like(h0);
    for (int64_t i = steps * width - 1; i >= 0; --i) {
      double& carried = dh.data<double>()[i % width];
      const double total = dy.data<double>()[i] + carried;
      dx.data<double>()[i] = total;
      da.data<double>()[i] = total * (i < width ? h0.data<double>()[i] : saved.data<double>()[i - width]);
      carried = total * a.data<double>()[i];
    }
    return {da, dx, dh};
  });
}
