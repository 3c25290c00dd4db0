// Exercise 9, backward through time: h_t = a_t h_{t-1} + x_t, the recurrence inside every SRU.
//
// h_t acts on the loss directly and through h_{t+1}, which acts through h_{t+2} ... The backward pass below knows only the
// direct way. Walk back from the last step to the first, and carry the gradient of h from one to the next.
#include "tandem/autograd/tape.h"

using namespace tandem;

// Computes all states h (T, D) from a and x (T, D) and the first state h0 (D), all in f64.
Tensor linear_scan(const Tensor& a, const Tensor& x, const Tensor& h0) {
  const int64_t steps = a.size(0), width = a.size(1);
  Tensor h = empty_like(x);
  for (int64_t t = 0; t < steps; ++t)
    for (int64_t d = 0; d < width; ++d) {
      const double before = t == 0 ? h0.data<double>()[d] : h.data<double>()[(t - 1) * width + d];
      h.data<double>()[t * width + d] =
          a.data<double>()[t * width + d] * before + x.data<double>()[t * width + d];
    }
  const Tensor saved = h.detach();
  return record("linear_scan", h, {a, x, h0}, [a, saved, h0, steps, width](const Tensor& dy) -> Grads {
    Tensor da = empty_like(a), dx = empty_like(a), dh0 = zeros_like(h0);
    for (int64_t t = 0; t < steps; ++t)
      for (int64_t d = 0; d < width; ++d) {
        const int64_t i = t * width + d;
        const double before = t == 0 ? h0.data<double>()[d] : saved.data<double>()[i - width];
        const double dh = dy.data<double>()[i];
        da.data<double>()[i] = dh * before;
        dx.data<double>()[i] = dh;
      }
    return {da, dx, dh0};
  });
}
