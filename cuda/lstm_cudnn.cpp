// lstm by cuDNN: one call for all time steps, with cuDNN 9's cudnnRNNForward, cudnnRNNBackwardData_v8 and
// cudnnRNNBackwardWeights_v8.
//
// With x in bf16 the cell state is rounded to bf16 where a call begins and ends, and between its steps. c0 cannot
// be handed over in f32: an RNN descriptor has one type for data and weights (cudnn_adv.h: `dataType`), and the
// library reads cx, dcx and dcy as elements of that type. libcudnn_adv 9.19 has no LSTM whose states are wider
// than its data: in its kernel elemWiseRNNcell for __nv_bfloat16 every pointer is to bf16, only the arithmetic is
// in float. Nor does it compare the type of cDesc with that of x, so f32 states would be read as bf16 without an
// error. Who needs the cell state in f32 next to bf16 takes LstmPath::steps.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "tandem/core/array.h"
#include "tandem/cuda/runtime/cudnn.h"
#include "tandem/ops/lstm.h"

namespace tandem::cuda {
namespace {

template <class D, cudnnStatus_t (*CudnnFunctions::*kCreate)(D*),
          cudnnStatus_t (*CudnnFunctions::*kDestroy)(D)>
class Descriptor {
 public:
  Descriptor() { TANDEM_CUDNN_CHECK((cudnn().*kCreate)(&handle_)); }
  ~Descriptor() { (cudnn().*kDestroy)(handle_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  operator D() const { return handle_; }

 private:
  D handle_ = nullptr;
};
using Dropout = Descriptor<cudnnDropoutDescriptor_t, &CudnnFunctions::cudnnCreateDropoutDescriptor,
                           &CudnnFunctions::cudnnDestroyDropoutDescriptor>;
using Rnn = Descriptor<cudnnRNNDescriptor_t, &CudnnFunctions::cudnnCreateRNNDescriptor,
                       &CudnnFunctions::cudnnDestroyRNNDescriptor>;
using RnnData = Descriptor<cudnnRNNDataDescriptor_t, &CudnnFunctions::cudnnCreateRNNDataDescriptor,
                           &CudnnFunctions::cudnnDestroyRNNDataDescriptor>;
using Layout = Descriptor<cudnnTensorDescriptor_t, &CudnnFunctions::cudnnCreateTensorDescriptor,
                          &CudnnFunctions::cudnnDestroyTensorDescriptor>;

struct Scratch {
  size_t work = 0, reserve = 0;
};

// Everything that depends on the sizes alone.
struct Plan {
  Dropout dropout;  // drops nothing, but cuDNN requires the descriptor
  Rnn rnn;
  RnnData x, h;
  Layout state;  // of h0, c0 and the last ones
  size_t weight_bytes = 0;
  Scratch inference, training;
};

// Steps, batch, in, width, dtype, math.
using Key = std::tuple<int, int, int, int, DType, cudnnMathType_t>;

// The precision of f32 products is that of matmul_precision(), except that tf32, which is more exact, stands
// in for bf16: cuDNN has no bf16 products of f32 matrices.
cudnnMathType_t math_of(const LstmInputs& in) {
  if (in.x.dtype() == DType::bf16) return CUDNN_TENSOR_OP_MATH;
  return in.precision == MatmulPrecision::f32 ? CUDNN_FMA_MATH : CUDNN_DEFAULT_MATH;
}

Key key_of(const LstmInputs& in) {
  const auto size = [](int64_t n) { return static_cast<int>(n); };
  return {size(in.x.size(0)),  size(in.x.size(1)), size(in.x.size(2)),
          size(in.h0.size(1)), in.x.dtype(),       math_of(in)};
}

// cuDNN before 9.13 has no LSTM in bf16, and calls it a wrong parameter.
bool is_supported(cudnnStatus_t status, DType dtype) {
  const bool is_bad = CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_BAD_PARAM;
  if (CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED || (is_bad && dtype == DType::bf16))
    return false;
  TANDEM_CUDNN_CHECK(status);
  return true;
}

// Returns null if the device or the library has no such LSTM.
std::unique_ptr<Plan> make_plan(const Key& key) {
  const auto [steps, batch, in, width, dtype, math] = key;
  const cudnnDataType_t type = dtype == DType::bf16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
  const cudnnHandle_t handle = cudnn_handle();
  auto plan = std::make_unique<Plan>();
  TANDEM_CUDNN_CHECK(cudnn().cudnnSetDropoutDescriptor(plan->dropout, handle, 0, nullptr, 0, 0));
  if (!is_supported(
          cudnn().cudnnSetRNNDescriptor_v8(plan->rnn, CUDNN_RNN_ALGO_STANDARD, CUDNN_LSTM,
                                           CUDNN_RNN_DOUBLE_BIAS, CUDNN_UNIDIRECTIONAL, CUDNN_LINEAR_INPUT,
                                           type, CUDNN_DATA_FLOAT, math, in, width, /*projSize=*/width,
                                           /*numLayers=*/1, plan->dropout, CUDNN_RNN_PADDED_IO_ENABLED),
          dtype))
    return nullptr;
  const std::vector<int> lengths(static_cast<size_t>(batch), steps);
  const auto describe = [&](const RnnData& data, int size) {
    TANDEM_CUDNN_CHECK(cudnn().cudnnSetRNNDataDescriptor(data, type, CUDNN_RNN_DATA_LAYOUT_SEQ_MAJOR_UNPACKED,
                                                         steps, batch, size, lengths.data(), nullptr));
  };
  describe(plan->x, in);
  describe(plan->h, width);
  const int sizes[] = {1, batch, width}, strides[] = {batch * width, width, 1};
  TANDEM_CUDNN_CHECK(cudnn().cudnnSetTensorNdDescriptor(plan->state, type, 3, sizes, strides));
  TANDEM_CUDNN_CHECK(cudnn().cudnnGetRNNWeightSpaceSize(handle, plan->rnn, &plan->weight_bytes));
  for (const auto& [mode, scratch] : {std::pair(CUDNN_FWD_MODE_INFERENCE, &plan->inference),
                                      std::pair(CUDNN_FWD_MODE_TRAINING, &plan->training)})
    if (!is_supported(cudnn().cudnnGetRNNTempSpaceSizes(handle, plan->rnn, mode, plan->x, &scratch->work,
                                                        &scratch->reserve),
                      dtype))
      return nullptr;
  return plan;
}

const Plan* plan_for(const LstmInputs& in) {
  static std::mutex mutex;
  static auto& plans = *new std::map<Key, std::unique_ptr<Plan>>;  // outlives cuDNN's users
  const Key key = key_of(in);
  const std::lock_guard lock(mutex);
  const auto [place, is_new] = plans.try_emplace(key);
  if (is_new) place->second = make_plan(key);
  return place->second.get();
}

Tensor bytes(size_t count, Device device) {
  return Tensor({static_cast<int64_t>(count)}, DType::u8, device);
}

// Returns memory for all weights, in the dtype of x.
Tensor weight_space(const Plan& plan, const LstmInputs& in) {
  return Tensor({static_cast<int64_t>(plan.weight_bytes / size_of(in.x.dtype()))}, in.x.dtype(),
                in.x.device());
}

// Returns the four weights as views of that memory. Matrices 0 to 3 are the gates of the input, 4 to 7 those
// of the hidden state, in our order; each has a bias.
LstmWeights weights_in(const Tensor& space, const Plan& plan, const LstmInputs& in) {
  const auto view = [&](int first_gate, const Tensor& like) {
    const bool is_bias = like.rank() == 1;
    const int64_t gate_size = like.numel() / 4;
    int64_t begin = 0;
    for (int gate = 0; gate < 4; ++gate) {
      const Layout matrix_layout, bias_layout;
      void *matrix = nullptr, *bias = nullptr;
      TANDEM_CUDNN_CHECK(cudnn().cudnnGetRNNWeightParams(cudnn_handle(), plan.rnn, 0, plan.weight_bytes,
                                                         space.raw(), first_gate + gate, matrix_layout,
                                                         &matrix, bias_layout, &bias));
      const auto offset =
          static_cast<const char*>(is_bias ? bias : matrix) - static_cast<const char*>(space.raw());
      const int64_t at = offset / static_cast<int64_t>(size_of(space.dtype()));
      if (gate == 0) begin = at;
      if (at != begin + gate * gate_size)
        throw Error("cudnn: the gates of an LSTM's weight do not lie in a row");
    }
    return space.view_rows(begin, begin + like.numel()).view_as(like.shape());
  };
  const LstmWeights& w = in.weights;
  return {view(0, w.input), view(4, w.hidden), view(0, w.input_bias), view(4, w.hidden_bias)};
}

Tensor packed_weights(const Plan& plan, const LstmInputs& in) {
  const Tensor space = weight_space(plan, in);
  const LstmWeights to = weights_in(space, plan, in);
  tandem::copy(to.input, in.weights.input);
  tandem::copy(to.hidden, in.weights.hidden);
  tandem::copy(to.input_bias, in.weights.input_bias);
  tandem::copy(to.hidden_bias, in.weights.hidden_bias);
  return space;
}

void deliver(const GradTarget& target, const Tensor& gradient) {
  if (!target.grad.defined()) return;
  if (target.accumulate)
    tandem::add_in_place(target.grad, gradient.to(target.grad.dtype()));
  else
    tandem::copy(target.grad, gradient);
}

void* address_of(const Tensor& x) {
  return x.defined() ? x.raw() : nullptr;
}

}  // namespace

bool cudnn_has_lstm(const LstmInputs& in) {
  return in.x.dtype() != DType::f64 && plan_for(in) != nullptr;
}

Tensor cudnn_lstm_forward(const LstmResult& y, const LstmInputs& in, bool training) {
  const Plan& plan = *plan_for(in);
  const Device device = in.x.device();
  const Scratch& scratch = training ? plan.training : plan.inference;
  const Tensor weights = packed_weights(plan, in), work = bytes(scratch.work, device);
  const Tensor kept = training ? bytes(scratch.reserve, device) : Tensor();
  // cuDNN takes states of x's dtype alone (see the head of the file).
  const Tensor c0 = in.c0.detach().to(in.x.dtype()), c_last = empty_like(c0);
  TANDEM_CUDNN_CHECK(cudnn().cudnnRNNForward(
      cudnn_handle(), plan.rnn, training ? CUDNN_FWD_MODE_TRAINING : CUDNN_FWD_MODE_INFERENCE, nullptr,
      plan.x, in.x.raw(), plan.h, y.h.raw(), plan.state, in.h0.raw(), y.h_last.raw(), plan.state, c0.raw(),
      c_last.raw(), plan.weight_bytes, weights.raw(), scratch.work, work.raw(),
      training ? scratch.reserve : 0, address_of(kept)));
  tandem::copy(y.c_last, c_last);
  return kept;
}

void cudnn_lstm_backward(const LstmGrads& grads, const Tensor& dh, const Tensor& dh_last,
                         const Tensor& dc_last, const Tensor& h, const Tensor& kept, const LstmInputs& in) {
  const Plan& plan = *plan_for(in);
  const DType dtype = in.x.dtype();
  const Scratch& scratch = plan.training;
  const Tensor weights = packed_weights(plan, in), work = bytes(scratch.work, in.x.device());
  // cuDNN requires both gradients, wanted or not.
  const Tensor dy = dh.defined() ? dh : zeros_like(h), dx = grads.x.defined() ? grads.x : empty_like(in.x);
  const Tensor c0 = in.c0.detach().to(dtype), dc0 = empty_like(c0),
               dc = dc_last.defined() ? dc_last.to(dtype) : Tensor();
  TANDEM_CUDNN_CHECK(cudnn().cudnnRNNBackwardData_v8(
      cudnn_handle(), plan.rnn, nullptr, plan.h, h.raw(), dy.raw(), plan.x, dx.raw(), plan.state, in.h0.raw(),
      address_of(dh_last), address_of(grads.h0), plan.state, c0.raw(), address_of(dc), dc0.raw(),
      plan.weight_bytes, weights.raw(), scratch.work, work.raw(), scratch.reserve, kept.raw()));
  tandem::copy(grads.c0, dc0);
  const auto wanted = {&grads.input, &grads.hidden, &grads.input_bias, &grads.hidden_bias};
  if (std::none_of(wanted.begin(), wanted.end(),
                   [](const GradTarget* target) { return target->grad.defined(); }))
    return;
  const Tensor space = weight_space(plan, in);
  tandem::fill(space, 0);  // it is added to: cuDNN has the mode that overwrites on some devices only
  TANDEM_CUDNN_CHECK(cudnn().cudnnRNNBackwardWeights_v8(
      cudnn_handle(), plan.rnn, CUDNN_WGRAD_MODE_ADD, nullptr, plan.x, in.x.raw(), plan.state, in.h0.raw(),
      plan.h, h.raw(), plan.weight_bytes, space.raw(), scratch.work, work.raw(), scratch.reserve,
      kept.raw()));
  const LstmWeights from = weights_in(space, plan, in);
  deliver(grads.input, from.input);
  deliver(grads.hidden, from.hidden);
  deliver(grads.input_bias, from.input_bias);
  deliver(grads.hidden_bias, from.hidden_bias);
}

}  // namespace tandem::cuda
