// lstm: one layer of long short-term memory over all time steps, (T, B, I) to (T, B, H).
//
// Hochreiter and Schmidhuber, "Long Short-Term Memory" (Neural Computation 1997), with the forget gate of Gers,
// Schmidhuber and Cummins (2000). Gates, biases and their order are those of PyTorch and cuDNN.
#pragma once
#include <cstdint>

#include "tandem/autograd/accumulate.h"
#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/precision.h"

namespace tandem {

// The weights have H rows for each gate, in the order input, forget, cell, output.
struct LstmWeights {
  Tensor input;        // (4 H, I)
  Tensor hidden;       // (4 H, H)
  Tensor input_bias;   // (4 H)
  Tensor hidden_bias;  // (4 H), added to input_bias
};

struct LstmResult {
  Tensor h;               // (T, B, H)
  Tensor h_last, c_last;  // (B, H), the hidden and the cell state after the last step, in memory of their own
};

// Chooses the implementation.
//   fastest: cuDNN on a GPU, if this build and this device have it for x's dtype; else steps.
//   steps: one product and one kernel of Tandem's own for each time step.
enum class LstmPath : uint8_t { fastest, steps };

// Computes at each time step, starting from h0 and c0:
//
//     i, f, g, o = the four quarters of  x W^T + input_bias + h_before U^T + hidden_bias
//     c = sigmoid(f) c_before + sigmoid(i) tanh(g)          h = sigmoid(o) tanh(c)
//
// x is (T, B, I); W and U are weights.input and weights.hidden; h0 and c0 are (B, H), or zeros if undefined.
// Gradients flow to x, the weights, h0 and c0, from any of the results.
// All are f32 or all are f64; f32 is multiplied as matmul_precision() says. On a GPU x, h0, h and h_last may be
// bf16, and then the weights, c0 and c_last are f32; between time steps `steps` keeps c in f32, cuDNN in bf16.
// A tap hears lstm.input, .forget, .candidate and .output, the activations of i, f, g and o, and lstm.cell, c, of all
// steps, (T, B, H).
// Error: another shape, dtype or device; an axis of x is 0.
LstmResult lstm(const Tensor& x, const LstmWeights& weights, const Tensor& h0 = {}, const Tensor& c0 = {},
                LstmPath path = LstmPath::fastest);

// One step of one unit, for the CPU loop and the CUDA kernel.
template <class T>
struct LstmGates {
  T input, forget, cell, output;
};
template <class T>
struct LstmStep {
  T c, h;
};
template <class T>
struct LstmStepGrad {
  LstmGates<T> gates;
  T c_before;
};

template <class T>
TANDEM_HD TANDEM_INLINE LstmGates<T> lstm_activations(const LstmGates<T>& sums) {
  return {sigmoid(sums.input), sigmoid(sums.forget), fast_tanh(sums.cell), sigmoid(sums.output)};
}

// Computes one step. `sums` are the gates before their activations.
template <class T>
TANDEM_HD TANDEM_INLINE LstmStep<T> lstm_step(const LstmGates<T>& sums, T c_before) {
  const LstmGates<T> gates = lstm_activations(sums);
  const T c = gates.forget * c_before + gates.input * gates.cell;
  return {c, gates.output * fast_tanh(c)};
}

// Computes the gradients of one step. c is the state after it; dh and dc are the whole gradients of h and c.
// With y the activations of the sums:
//
//     dc  += dh y_o (1 - tanh(c)^2)       dc_before = dc y_f
//     di   = dc y_g y_i (1 - y_i)         df = dc c_before y_f (1 - y_f)
//     dg   = dc y_i (1 - y_g^2)           do = dh tanh(c) y_o (1 - y_o)
template <class T>
TANDEM_HD TANDEM_INLINE LstmStepGrad<T> lstm_step_backward(const LstmGates<T>& sums, T c_before, T c, T dh,
                                                           T dc) {
  const LstmGates<T> y = lstm_activations(sums);
  const T squashed = fast_tanh(c);
  const T dc_total = dc + dh * y.output * (T(1) - squashed * squashed);
  return {{dc_total * y.cell * y.input * (T(1) - y.input), dc_total * c_before * y.forget * (T(1) - y.forget),
           dc_total * y.input * (T(1) - y.cell * y.cell), dh * squashed * y.output * (T(1) - y.output)},
          dc_total * y.forget};
}

// The inputs of both directions. h0 and c0 are defined.
struct LstmInputs {
  Tensor x;
  LstmWeights weights;
  Tensor h0, c0;
  MatmulPrecision precision;
};

// What forward keeps for backward.
struct LstmSteps {
  Tensor gates;  // (T, B, 4 H), before the activations and without hidden_bias
  Tensor c, h;   // (T, B, H), the states after each step
};

// The gradients to compute. A field is undefined if its gradient is not wanted.
struct LstmGrads {
  Tensor x;
  GradTarget input, hidden, input_bias, hidden_bias;
  Tensor h0;
  Tensor c0;  // always defined
};

namespace cpu {
// steps.gates enters as x W^T + input_bias; h_before U^T is added to it.
void lstm_forward(const LstmSteps& steps, const LstmInputs& in);
// steps.gates is overwritten with the gradient of the sums. dh_carry and dc_carry (B, H), in the dtype of c0,
// enter as the gradients of the last state and leave as those of h0, which is computed only if wanted, and c0.
// dh is zeros if undefined.
void lstm_backward(const Tensor& dh_carry, const Tensor& dc_carry, const Tensor& dh, const LstmSteps& steps,
                   const LstmInputs& in);
}  // namespace cpu

namespace cuda {
void lstm_forward(const LstmSteps& steps, const LstmInputs& in);
void lstm_backward(const Tensor& dh_carry, const Tensor& dc_carry, const Tensor& dh, const LstmSteps& steps,
                   const LstmInputs& in);

// cuDNN's LSTM, in builds that found cuDNN.
#ifdef TANDEM_WITH_CUDNN
inline constexpr bool kWithCudnn = true;
#else
inline constexpr bool kWithCudnn = false;
#endif
// True if cuDNN has an LSTM for these inputs on this device.
bool cudnn_has_lstm(const LstmInputs& in);
// Returns what cuDNN keeps for backward, undefined unless `training`.
Tensor cudnn_lstm_forward(const LstmResult& y, const LstmInputs& in, bool training);
// May run once after each forward, because cuDNN writes to `kept`. dh, dh_last and dc_last are zeros if
// undefined.
void cudnn_lstm_backward(const LstmGrads& grads, const Tensor& dh, const Tensor& dh_last,
                         const Tensor& dc_last, const Tensor& h, const Tensor& kept, const LstmInputs& in);
}  // namespace cuda

}  // namespace tandem
