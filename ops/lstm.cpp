// lstm: one product of the inputs of all time steps, then one product and the cells of each step; or cuDNN.
#include "tandem/ops/lstm.h"

#include <algorithm>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/core/tap.h"
#include "tandem/ops/gemm/repeated.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/host_f64.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// Computes one step of one batch row. gates and bias are four planes of n elements. c_before must not be c.
template <class T>
TANDEM_INLINE void forward_row_body(T* h, T* c, const T* gates, const T* bias, const T* c_before, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const LstmStep<T> step =
        lstm_step(LstmGates<T>{gates[j] + bias[j], gates[n + j] + bias[n + j],
                               gates[2 * n + j] + bias[2 * n + j], gates[3 * n + j] + bias[3 * n + j]},
                  c_before[j]);
    c[j] = step.c;
    h[j] = step.h;
  }
}
TANDEM_SIMD void forward_row(float* h, float* c, const float* gates, const float* bias, const float* c_before,
                             int64_t n) {
  forward_row_body(h, c, gates, bias, c_before, n);
}
TANDEM_SIMD void forward_row(double* h, double* c, const double* gates, const double* bias,
                             const double* c_before, int64_t n) {
  forward_row_body(h, c, gates, bias, c_before, n);
}

template <class T>
struct BackwardRow {
  T *gates, *dc;  // overwritten in place
  const T *dh, *dh_carry, *bias, *c_before, *c;
};

template <class T>
TANDEM_INLINE void backward_row_body(const BackwardRow<T>& row, int64_t n) {
  T *gates = row.gates, *dc = row.dc;
  const T *dh = row.dh, *dh_carry = row.dh_carry, *bias = row.bias, *c_before = row.c_before, *c = row.c;
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const LstmStepGrad<T> d = lstm_step_backward(
        LstmGates<T>{gates[j] + bias[j], gates[n + j] + bias[n + j], gates[2 * n + j] + bias[2 * n + j],
                     gates[3 * n + j] + bias[3 * n + j]},
        c_before[j], c[j], dh[j] + dh_carry[j], dc[j]);
    gates[j] = d.gates.input;
    gates[n + j] = d.gates.forget;
    gates[2 * n + j] = d.gates.cell;
    gates[3 * n + j] = d.gates.output;
    dc[j] = d.c_before;
  }
}
TANDEM_SIMD void backward_row(const BackwardRow<float>& row, int64_t n) {
  backward_row_body(row, n);
}
TANDEM_SIMD void backward_row(const BackwardRow<double>& row, int64_t n) {
  backward_row_body(row, n);
}

template <class T>
void forward(const LstmSteps& steps, const LstmInputs& in) {
  const int64_t batch = steps.h.size(1), n = steps.h.size(2), size = batch * n;
  Gemm product = linear_product(batch, in.weights.hidden, in.precision);
  product.accumulate = true;
  const cpu::RepeatedGemm<T> add_hidden(in.weights.hidden.data<T>(), product, int8_form(in.weights.hidden));
  const T *h_before = in.h0.data<T>(), *c_before = in.c0.data<T>(), *bias = in.weights.hidden_bias.data<T>();
  T *h = steps.h.data<T>(), *c = steps.c.data<T>(), *gates = steps.gates.data<T>();
  for (int64_t t = 0; t < steps.h.size(0); ++t) {
    add_hidden.run(gates, h_before);
    cpu::for_rows(batch, 4 * n, [h, c, gates, bias, c_before, n](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        forward_row(h + b * n, c + b * n, gates + 4 * b * n, bias, c_before + b * n, n);
    });
    h_before = h;
    c_before = c;
    h += size;
    c += size;
    gates += 4 * size;
  }
}

template <class T>
void backward(const Tensor& dh_carry, const Tensor& dc_carry, const Tensor& dh, const LstmSteps& steps,
              const LstmInputs& in) {
  const int64_t batch = steps.h.size(1), n = steps.h.size(2), size = batch * n;
  const cpu::RepeatedGemm<T> to_hidden(in.weights.hidden.data<T>(),
                                       linear_input_product(batch, in.weights.hidden, in.precision));
  const Tensor none = dh.defined() ? Tensor() : zeros({batch, n}, steps.h.dtype());
  const T* bias = in.weights.hidden_bias.data<T>();
  for (int64_t t = steps.h.size(0) - 1; t >= 0; --t) {
    T *gates = steps.gates.data<T>() + 4 * t * size, *carry = dh_carry.data<T>(), *dc = dc_carry.data<T>();
    const T* arriving = dh.defined() ? dh.data<T>() + t * size : none.data<T>();
    const T* c = steps.c.data<T>() + t * size;
    const T* c_before = t > 0 ? c - size : in.c0.data<T>();
    cpu::for_rows(batch, 4 * n,
                  [gates, dc, arriving, carry, bias, c_before, c, n](int64_t begin, int64_t end) {
                    for (int64_t b = begin; b < end; ++b)
                      backward_row(BackwardRow<T>{gates + 4 * b * n, dc + b * n, arriving + b * n,
                                                  carry + b * n, bias, c_before + b * n, c + b * n},
                                   n);
                  });
    if (t > 0 || needs_grad(in.h0)) to_hidden.run(carry, gates);
  }
}

void check_inputs(const Tensor& x, const LstmWeights& weights, const Tensor& h0, const Tensor& c0) {
  check_floating("lstm", {{"x", x}});
  check_defined("lstm", {{"weights.hidden", weights.hidden}});
  TANDEM_CHECK(x.rank() == 3 && x.numel() > 0, "lstm: x is {}; it must be (T, B, I), and none of them 0",
               x.shape().str());
  const int64_t h = weights.hidden.rank() == 2 ? weights.hidden.size(1) : 0;
  TANDEM_CHECK(h > 0 && weights.hidden.size(0) == 4 * h, "lstm: weights.hidden is {}; it must be (4 H, H)",
               weights.hidden.shape().str());
  const DType parameter = parameter_dtype(x.dtype());
  const MainOperand main{"lstm", "x", x};
  check_operand(main, "weights.hidden", weights.hidden, {4 * h, h}, parameter);
  check_operand(main, "weights.input", weights.input, {4 * h, x.size(2)}, parameter);
  check_operand(main, "weights.input_bias", weights.input_bias, {4 * h}, parameter);
  check_operand(main, "weights.hidden_bias", weights.hidden_bias, {4 * h}, parameter);
  if (h0.defined()) check_operand(main, "h0", h0, {x.size(1), h}, x.dtype());
  if (c0.defined()) check_operand(main, "c0", c0, {x.size(1), h}, parameter);
}

Tensor last_of(const Tensor& x) {
  return x.view_rows(x.size(0) - 1, x.size(0)).view_as(x.shape().tail()).clone();
}

LstmGrads wanted_grads(const LstmInputs& in) {
  return {.x = needs_grad(in.x) ? empty_like(in.x) : Tensor(),
          .input = grad_target(in.weights.input),
          .hidden = grad_target(in.weights.hidden),
          .input_bias = grad_target(in.weights.input_bias),
          .hidden_bias = grad_target(in.weights.hidden_bias),
          .h0 = needs_grad(in.h0) ? empty_like(in.h0) : Tensor(),
          .c0 = empty_like(in.c0)};
}

Grads in_order(const LstmGrads& d) {
  return {d.x, d.input.grad, d.hidden.grad, d.input_bias.grad, d.hidden_bias.grad, d.h0, d.c0};
}

LstmResult result_of(const std::vector<Tensor>& ys) {
  return {ys[0], ys[1], ys[2]};
}

LstmResult forward_by_steps(const LstmSteps& steps, const LstmInputs& in) {
  TANDEM_DISPATCH(in.x.device(),
                  linear_forward(steps.gates, in.x, in.weights.input, in.weights.input_bias, in.precision));
  TANDEM_DISPATCH(in.x.device(), lstm_forward(steps, in));
  return {steps.h, last_of(steps.h), last_of(steps.c)};
}

// Returns the buffers for a forward pass that ends in h.
LstmSteps steps_for(const Tensor& h, const LstmInputs& in) {
  return {Tensor(h.shape().with(-1, 4 * h.size(2)), h.dtype(), h.device()),
          Tensor(h.shape(), in.c0.dtype(), h.device()), h};
}

// Offers the gates and the state of every step.
void offer_values(const LstmSteps& steps, const LstmInputs& in) {
  const Tensor sums = host_f64(steps.gates), bias = host_f64(in.weights.hidden_bias);
  const Shape& shape = steps.h.shape();
  const Tensor input(shape, DType::f64), forget(shape, DType::f64), candidate(shape, DType::f64),
      output(shape, DType::f64);
  const int64_t n = shape[2];
  for (int64_t at = 0; at < shape.numel(); ++at) {
    const int64_t j = at % n;
    const double *sum = sums.data<double>() + at / n * 4 * n + j, *b = bias.data<double>() + j;
    const LstmGates<double> gates = lstm_activations(
        LstmGates<double>{sum[0] + b[0], sum[n] + b[n], sum[2 * n] + b[2 * n], sum[3 * n] + b[3 * n]});
    input.data<double>()[at] = gates.input;
    forget.data<double>()[at] = gates.forget;
    candidate.data<double>()[at] = gates.cell;
    output.data<double>()[at] = gates.output;
  }
  Tap::offer("lstm.input", input);
  Tap::offer("lstm.forget", forget);
  Tap::offer("lstm.candidate", candidate);
  Tap::offer("lstm.output", output);
  Tap::offer("lstm.cell", steps.c);
}

// Offers what cuDNN does not tell, from a second pass by steps.
[[maybe_unused]] void offer_values_of_cudnn(const LstmInputs& in, const Tensor& h) {
  const LstmSteps steps = steps_for(empty_like(h), in);
  forward_by_steps(steps, in);
  offer_values(steps, in);
}

void start_carry(const Tensor& carry, const Tensor& arriving) {
  copy_or_zeros(carry, arriving);
}

// Computes all gradients. With d (T, B, 4 H) the gradients of the sums, over all time steps at once:
//
//     dx = d W        dW = d^T x        dU = d^T h_before        db = the sum of the rows of d, for both biases
void backward_by_steps(const LstmGrads& grads, const Grads& dys, const LstmSteps& steps,
                       const LstmInputs& in) {
  const Device device = in.x.device();
  const Tensor dh_carry = empty_like(in.c0), &d = steps.gates;
  start_carry(dh_carry, dys[1]);
  start_carry(grads.c0, dys[2]);
  TANDEM_DISPATCH(device, lstm_backward(dh_carry, grads.c0, dys[0], steps, in));
  if (grads.h0.defined()) copy(grads.h0, dh_carry);
  if (grads.x.defined())
    TANDEM_DISPATCH(device, linear_backward_input(grads.x, d, in.weights.input, in.precision));
  if (const auto& [dw, accumulate] = grads.input; dw.defined())
    TANDEM_DISPATCH(device, linear_backward_weight(dw, d, in.x, accumulate, in.precision));
  if (const auto& [du, accumulate] = grads.hidden; du.defined()) {
    const int64_t steps_count = d.size(0);
    TANDEM_DISPATCH(device, linear_backward_weight(du, d.view_rows(0, 1), in.h0, accumulate, in.precision));
    if (steps_count > 1)
      TANDEM_DISPATCH(device,
                      linear_backward_weight(du, d.view_rows(1, steps_count),
                                             steps.h.view_rows(0, steps_count - 1), true, in.precision));
  }
  for (const auto& [db, accumulate] : {grads.input_bias, grads.hidden_bias})
    if (db.defined()) TANDEM_DISPATCH(device, linear_backward_bias(db, d, accumulate));
}

}  // namespace

namespace cpu {

void lstm_forward(const LstmSteps& steps, const LstmInputs& in) {
  dispatch_float(in.x.dtype(), "lstm", [&]<class T>() { forward<T>(steps, in); });
}

void lstm_backward(const Tensor& dh_carry, const Tensor& dc_carry, const Tensor& dh, const LstmSteps& steps,
                   const LstmInputs& in) {
  dispatch_float(in.x.dtype(), "lstm", [&]<class T>() { backward<T>(dh_carry, dc_carry, dh, steps, in); });
}

}  // namespace cpu

LstmResult lstm(const Tensor& x, const LstmWeights& weights, const Tensor& h0, const Tensor& c0,
                LstmPath path) {
  check_inputs(x, weights, h0, c0);
  const Device device = x.device();
  const DType parameter = parameter_dtype(x.dtype());
  const Shape state{x.size(1), weights.hidden.size(1)};
  const LstmInputs in{x, weights, h0.defined() ? h0 : zeros(state, x.dtype(), device),
                      c0.defined() ? c0 : zeros(state, parameter, device), matmul_precision()};
  const std::vector<Tensor> inputs{
      x, weights.input, weights.hidden, weights.input_bias, weights.hidden_bias, h0, c0};
  const Tensor h({x.size(0), state[0], state[1]}, x.dtype(), device);
  if constexpr (cuda::kWithCudnn) {
    if (path == LstmPath::fastest && device.is_cuda() && cuda::cudnn_has_lstm(in)) {
      const LstmResult y{h, Tensor(state, x.dtype(), device), Tensor(state, parameter, device)};
      const bool recorded = Tape::current() && std::any_of(inputs.begin(), inputs.end(), needs_grad);
      const Tensor kept = cuda::cudnn_lstm_forward(y, in, recorded);
      if (Tap::is_heard()) offer_values_of_cudnn(in, h);
      return result_of(record("lstm", {y.h, y.h_last, y.c_last}, inputs, [in, h, kept](const Grads& dys) {
        const LstmGrads grads = wanted_grads(in);
        cuda::cudnn_lstm_backward(grads, dys[0], dys[1], dys[2], h, kept, in);
        return in_order(grads);
      }));
    }
  }
  const LstmSteps steps = steps_for(h, in);
  const LstmResult y = forward_by_steps(steps, in);
  if (Tap::is_heard()) offer_values(steps, in);
  return result_of(record("lstm", {y.h, y.h_last, y.c_last}, inputs, [in, steps](const Grads& dys) {
    const LstmGrads grads = wanted_grads(in);
    backward_by_steps(grads, dys, steps, in);
    return in_order(grads);
  }));
}

}  // namespace tandem
