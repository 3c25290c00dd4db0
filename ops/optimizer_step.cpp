// optimizer_step on the CPU: the norm and the update in blocks of elements, which are shared among the threads.
#include "tandem/ops/optimizer_step.h"

#include <algorithm>
#include <cmath>

#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/gemm/round_bf16.h"
#include "tandem/ops/support/check_operand.h"

namespace tandem {
namespace {

constexpr int64_t kBlock = cpu::kOptimizerBlock;

// A part of one parameter. Parameters differ much in size, blocks do not, so that the threads get equal shares.
struct Block {
  size_t slot;
  int64_t begin, count;
};

std::vector<Block> blocks_of(const std::vector<ParameterSlot>& slots) {
  std::vector<Block> blocks;
  for (size_t i = 0; i < slots.size(); ++i) {
    const int64_t n = slots[i].value.numel();
    for (int64_t begin = 0; begin < n; begin += kBlock)
      blocks.push_back({i, begin, std::min(kBlock, n - begin)});
  }
  return blocks;
}

template <class T>
TANDEM_INLINE void update_block(T* value, T* m, T* v, const T* gradient, const AdamFactors<T>& factors,
                                int64_t n) {
  const AdamFactors<T> k = factors;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const AdamState<T> after = adam_element(AdamState<T>{value[i], m[i], v[i]}, gradient[i], k);
    value[i] = after.value;
    m[i] = after.m;
    v[i] = after.v;
  }
}

TANDEM_SIMD void update(float* value, float* m, float* v, const float* gradient,
                        const AdamFactors<float>& factors, int64_t n) {
  update_block(value, m, v, gradient, factors, n);
}
TANDEM_SIMD void update(double* value, double* m, double* v, const double* gradient,
                        const AdamFactors<double>& factors, int64_t n) {
  update_block(value, m, v, gradient, factors, n);
}

template <class T>
TANDEM_INLINE double square_sum_block(const T* x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

TANDEM_SIMD double square_sum(const float* x, int64_t n) {
  return square_sum_block(x, n);
}
TANDEM_SIMD double square_sum(const double* x, int64_t n) {
  return square_sum_block(x, n);
}

// Sums of squares of a parameter's elements and of their moves with trust ratio 1.
struct Squares {
  double value, move;
};

template <class T>
TANDEM_INLINE Squares trust_squares_block(const T* value, const T* m, const T* v, const T* gradient,
                                          const AdamFactors<T>& factors, int64_t n) {
  const AdamFactors<T> k = factors;
  double values = 0, moves = 0;
#pragma omp simd reduction(+ : values, moves)
  for (int64_t i = 0; i < n; ++i) {
    const AdamState<T> after = adam_moments(AdamState<T>{value[i], m[i], v[i]}, gradient[i], k);
    const double move = adam_move(after, gradient[i], k);
    values += static_cast<double>(value[i]) * static_cast<double>(value[i]);
    moves += move * move;
  }
  return {values, moves};
}

TANDEM_SIMD Squares trust_squares(const float* value, const float* m, const float* v, const float* gradient,
                                  const AdamFactors<float>& factors, int64_t n) {
  return trust_squares_block(value, m, v, gradient, factors, n);
}
TANDEM_SIMD Squares trust_squares(const double* value, const double* m, const double* v,
                                  const double* gradient, const AdamFactors<double>& factors, int64_t n) {
  return trust_squares_block(value, m, v, gradient, factors, n);
}

// Multiplies the numbers of each slot's update by LAMB's trust ratio.
void apply_trust(std::vector<AdamCoefficients>& coefficients, const std::vector<ParameterSlot>& slots,
                 const std::vector<Block>& blocks, const UpdateRule& rule, double lr) {
  const int64_t count = static_cast<int64_t>(blocks.size());
  std::vector<Squares> parts(blocks.size());
  cpu::parallel_for(count, count > 1, [&](int64_t i) {
    const int64_t begin = blocks[i].begin, n = blocks[i].count;
    const auto index = blocks[i].slot;
    const ParameterSlot& slot = slots[index];
    dispatch_float(slot.value.dtype(), "optimizer", [&]<class T>() {
      parts[i] =
          trust_squares(slot.value.data<T>() + begin, slot.m.data<T>() + begin, slot.v.data<T>() + begin,
                        slot.gradient.data<T>() + begin, AdamFactors<T>(coefficients[index]), n);
    });
  });
  std::vector<Squares> sums(slots.size());
  for (size_t i = 0; i < blocks.size(); ++i) {
    sums[blocks[i].slot].value += parts[i].value;
    sums[blocks[i].slot].move += parts[i].move;
  }
  for (size_t i = 0; i < slots.size(); ++i) {
    const double trust = lamb_trust(rule, std::sqrt(sums[i].value), std::sqrt(sums[i].move), lr);
    coefficients[i].rate *= trust;
    coefficients[i].decay *= trust;
  }
}

}  // namespace

namespace cpu {

void gradient_squares(const std::vector<ParameterSlot>& slots, const Tensor& squares) {
  const std::vector<Block> blocks = blocks_of(slots);
  const int64_t count = static_cast<int64_t>(blocks.size());
  double* const sums = squares.data<double>();
  cpu::parallel_for(count, count > 1, [&](int64_t i) {
    const Tensor& gradient = slots[blocks[i].slot].gradient;
    dispatch_float(gradient.dtype(), "optimizer", [&]<class T>() {
      sums[i] = square_sum(gradient.data<T>() + blocks[i].begin, blocks[i].count);
    });
  });
}

void optimizer_step(const std::vector<ParameterSlot>& slots, const UpdateRule& rule, const Tensor& lr,
                    const Tensor& loss, const Tensor& squares, const Tensor& outcome) {
  const std::vector<Block> blocks = blocks_of(slots);
  double sum = 0;
  for (const double block : squares.span<double>()) sum += block;
  const double loss_value = loss.defined() ? *loss.data<double>() : 0, norm = std::sqrt(sum);
  const bool updated = std::isfinite(norm) && std::isfinite(loss_value);
  double* const result = outcome.data<double>();
  result[kOutcomeLoss] = loss_value;
  result[kOutcomeGradNorm] = norm;
  result[kOutcomeUpdated] = updated ? 1 : 0;
  if (!updated) return;

  const double gradient_scale = adam_gradient_scale(rule, norm), rate = *lr.data<double>();
  std::vector<AdamCoefficients> coefficients;
  for (const ParameterSlot& slot : slots) {
    const int64_t t = ++*slot.steps.data<int64_t>();
    coefficients.push_back(adam_coefficients(rule, t, rate, gradient_scale, slot.decays));
  }
  if (rule.kind == OptimizerKind::lamb) apply_trust(coefficients, slots, blocks, rule, rate);
  const int64_t count = static_cast<int64_t>(blocks.size());
  cpu::parallel_for(count, count > 1, [&](int64_t i) {
    const int64_t begin = blocks[i].begin, n = blocks[i].count;
    const auto index = blocks[i].slot;
    const ParameterSlot& slot = slots[index];
    if (slot.counts_only) return;
    dispatch_float(slot.value.dtype(), "optimizer", [&]<class T>() {
      T* const value = slot.value.data<T>() + begin;
      update(value, slot.m.data<T>() + begin, slot.v.data<T>() + begin, slot.gradient.data<T>() + begin,
             AdamFactors<T>(coefficients[index]), n);
      if (slot.copy.defined()) round_to_bf16(slot.copy.data<bf16>() + begin, value, n);
    });
  });
}

}  // namespace cpu

namespace {

void check_slot(const char* op, const ParameterSlot& slot, Device device) {
  const Tensor& value = slot.value;
  check_defined(op, {{"slot.value", value}});
  TANDEM_CHECK((value.dtype() == DType::f32 || value.dtype() == DType::f64) && value.device() == device,
               "{}: slot.value is {}; it must be f32 or f64, on {}", op, value.summary(), device.str());
  const MainOperand main{op, "slot.value", value};
  check_operand(main, "slot.gradient", slot.gradient, value.shape(), value.dtype());
  check_operand(main, "slot.m", slot.m, value.shape(), value.dtype());
  check_operand(main, "slot.v", slot.v, value.shape(), value.dtype());
  check_operand(main, "slot.steps", slot.steps, {1}, DType::i64);
  if (slot.copy.defined()) check_operand(main, "slot.copy", slot.copy, value.shape(), DType::bf16);
}

void check_numbers(const char* op, const char* name, const Tensor& x, int64_t count, Device device) {
  TANDEM_CHECK(x.dtype() == DType::f64 && x.shape() == Shape{count} && x.device() == device,
               "{}: {} is {}; it must be f64 ({}) on {}", op, name, x.summary(), count, device.str());
}

}  // namespace

int64_t optimizer_block(Device device) {
  return device.is_cuda() ? cuda::kOptimizerBlock : cpu::kOptimizerBlock;
}

int64_t square_count(int64_t elements, Device device) {
  const int64_t block = optimizer_block(device);
  return elements / block + (elements % block > 0);
}

void gradient_squares(const std::vector<ParameterSlot>& slots, const Tensor& squares) {
  check_defined("gradient_squares", {{"squares", squares}});
  const Device device = squares.device();
  int64_t count = 0;
  for (const ParameterSlot& slot : slots) {
    check_slot("gradient_squares", slot, device);
    count += square_count(slot.value.numel(), device);
  }
  check_numbers("gradient_squares", "squares", squares, count, device);
  TANDEM_DISPATCH(device, gradient_squares(slots, squares));
}

void optimizer_step(const std::vector<ParameterSlot>& slots, const UpdateRule& rule, const Tensor& lr,
                    const Tensor& loss, const Tensor& squares, const Tensor& outcome) {
  check_defined("optimizer_step", {{"lr", lr}, {"squares", squares}, {"outcome", outcome}});
  const Device device = outcome.device();
  check_numbers("optimizer_step", "outcome", outcome, kOutcomeSize, device);
  check_numbers("optimizer_step", "lr", lr, 1, device);
  check_numbers("optimizer_step", "squares", squares, squares.numel(), device);
  if (loss.defined()) check_numbers("optimizer_step", "loss", loss, 1, device);
  for (const ParameterSlot& slot : slots) check_slot("optimizer_step", slot, device);
  TANDEM_DISPATCH(device, optimizer_step(slots, rule, lr, loss, squares, outcome));
}

}  // namespace tandem
