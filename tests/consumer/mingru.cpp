// mingru: a language model of minGRU layers (Feng et al., "Were RNNs all we needed?", arXiv 2410.01201), from the operator to
// the registration, which makes the model known to all programs.
#include "mingru.h"

#include <cmath>

#include "tandem/autograd/tape.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/math.h"
#include "tandem/core/parallel.h"
#include "tandem/models/layers/initial_values.h"
#include "tandem/models/layers/recurrent_stack.h"
#include "tandem/models/registry.h"
#include "tandem/ops/linear.h"

namespace prototype {
using namespace tandem;

// The operator. A loop takes row b of the batch through all time steps; the loop over its columns is SIMD.
namespace cpu {

template <class T>
TANDEM_INLINE void forward_loop(int64_t b, const Tensor& h, const Tensor& u, const Tensor& h0) {
  const int64_t batch = h.size(1), d = h.size(2);
  const T* before = h0.data<T>() + b * d;
  for (int64_t row = b; row < h.size(0) * batch; row += batch) {
    const T* a = u.data<T>() + row * 2 * d;
    T* out = h.data<T>() + row * d;
#pragma omp simd
    for (int64_t i = 0; i < d; ++i)
      out[i] = before[i] + sigmoid(a[d + i]) * ((a[i] >= 0 ? a[i] + T(0.5) : sigmoid(a[i])) - before[i]);
    before = out;
  }
}

// da = dh_t z g'(a),  du_z = dh_t (g(a) - h_{t-1}) z (1 - z);  dh0 carries dh_{t-1} = dh_t (1 - z) to the step before.
template <class T>
TANDEM_INLINE void backward_loop(int64_t b, const Tensor& du, const Tensor& dh0, const Tensor& dh,
                                 const Tensor& h, const Tensor& u, const Tensor& h0) {
  const int64_t batch = h.size(1), d = h.size(2);
  T* carry = dh0.data<T>() + b * d;
  for (int64_t row = (h.size(0) - 1) * batch + b; row >= 0; row -= batch) {
    const T *a = u.data<T>() + row * 2 * d, *dy = dh.data<T>() + row * d;
    const T* before = row < batch ? h0.data<T>() + b * d : h.data<T>() + (row - batch) * d;
    T* da = du.data<T>() + row * 2 * d;
#pragma omp simd
    for (int64_t i = 0; i < d; ++i) {
      const T z = sigmoid(a[d + i]), s = sigmoid(a[i]), g = a[i] >= 0 ? a[i] + T(0.5) : s;
      const T dstate = dy[i] + carry[i];
      da[i] = dstate * z * (a[i] >= 0 ? T(1) : s * (1 - s));
      da[d + i] = dstate * (g - before[i]) * z * (1 - z);
      carry[i] = dstate * (1 - z);
    }
  }
}

TANDEM_SIMD void forward(int64_t b, const Tensor& h, const Tensor& u, const Tensor& h0) {
  h.dtype() == DType::f64 ? forward_loop<double>(b, h, u, h0) : forward_loop<float>(b, h, u, h0);
}
TANDEM_SIMD void backward(int64_t b, const Tensor& du, const Tensor& dh0, const Tensor& dh, const Tensor& h,
                          const Tensor& u, const Tensor& h0) {
  h.dtype() == DType::f64 ? backward_loop<double>(b, du, dh0, dh, h, u, h0)
                          : backward_loop<float>(b, du, dh0, dh, h, u, h0);
}

void mingru_scan(const Tensor& h, const Tensor& u, const Tensor& h0) {
  tandem::cpu::parallel_for(h.size(1), h.size(0) > 1, [&](int64_t b) { forward(b, h, u, h0); });
}
void mingru_scan_backward(const Tensor& du, const Tensor& dh0, const Tensor& dh, const Tensor& h,
                          const Tensor& u, const Tensor& h0) {
  tandem::cpu::parallel_for(h.size(1), h.size(0) > 1, [&](int64_t b) { backward(b, du, dh0, dh, h, u, h0); });
}

}  // namespace cpu

Tensor mingru_scan(const Tensor& u, const Tensor& h0) {
  TANDEM_CHECK(u.rank() == 3 && u.size(2) % 2 == 0 && h0.shape() == Shape({u.size(1), u.size(2) / 2}) &&
                   h0.dtype() == u.dtype() && (u.dtype() == DType::f32 || u.dtype() == DType::f64),
               "mingru_scan: u is {}, h0 is {}; give (T, B, 2 D) and (B, D), both f32 or f64", u.summary(),
               h0.summary());
  const Tensor h({u.size(0), u.size(1), u.size(2) / 2}, u.dtype(), u.device());
  TANDEM_DISPATCH_CPU(u.device(), mingru_scan(h, u, h0));
  return record("mingru_scan", h, {u, h0}, [u, h0, h](const Tensor& dh) -> Grads {
    const Tensor du = empty_like(u), dh0 = zeros_like(h0);
    cpu::mingru_scan_backward(du, dh0, dh, h, u, h0);
    return {du, dh0};
  });
}

class MinGruLayer : public Layer {
 public:
  MinGruLayer(int64_t input, int64_t output, const TokenConfig& config, Random& random) {
    const double bound = 1 / std::sqrt(static_cast<double>(input));
    weight_ = add_parameter("weight", uniform(random, {2 * output, input}, bound, config));
    bias_ = add_parameter("bias", uniform(random, {2 * output}, bound, config));
  }
  std::vector<std::string> state_names() const override { return {"h"}; }  // (B, output)
  Output forward(const Tensor& x, const LayerState& before, const ForwardOptions&, uint32_t) const override {
    const Tensor u = linear(x, weight_, bias_), h0 = part(before, 0);  // h0 is undefined where a text begins
    const Shape row{u.size(1), u.size(2) / 2};
    const Tensor h = mingru_scan(u, h0.defined() ? h0 : zeros(row, u.dtype(), u.device()));
    return {h, {h.detach().view_rows(h.size(0) - 1, h.size(0)).clone().view_as(row)}};
  }
  double forward_flops(int64_t, int64_t) const override { return 2.0 * static_cast<double>(weight_.numel()); }

 private:
  Tensor weight_, bias_;  // (2 output, input), (2 output)
};

struct MinGruConfig : Configured<MinGruConfig, RecurrentStackConfig> {
  std::string model_name() const { return "mingru"; }
  void fields(Fields& field) { stack_fields(field); }
};

std::vector<Preset> mingru_presets() {
  return {{"laptop", MinGruConfig().text(), laptop_recipe(5e-3, 10000), "three layers of 512"}};
}

}  // namespace prototype

TANDEM_MODELS(mingru) {
  using namespace prototype;
  register_model("mingru", make_recurrent_stack<MinGruLayer, MinGruConfig>, mingru_presets);
}
