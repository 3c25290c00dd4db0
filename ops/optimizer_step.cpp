// The update of all parameters and the norm of all gradients on the CPU, in blocks spread over the cores.
#include "ops/optimizer_step.h"

#include <algorithm>

#include "core/parallel.h"

namespace tandem {
namespace {

constexpr int64_t kBlock = 1 << 14;

// Part of one tensor of a list: parameters are of very different sizes, blocks are not.
struct Block {
  size_t tensor;
  int64_t begin, count;
};

template <class Items, class TensorOf>
std::vector<Block> blocks_of(const Items& items, TensorOf&& tensor_of) {
  std::vector<Block> blocks;
  for (size_t i = 0; i < items.size(); ++i) {
    const int64_t n = tensor_of(items[i]).numel();
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

}  // namespace

namespace cpu {

void adam_step(const std::vector<AdamSlot>& slots) {
  const std::vector<Block> blocks = blocks_of(slots, [](const AdamSlot& slot) { return slot.value; });
  const int64_t count = static_cast<int64_t>(blocks.size());
#pragma omp parallel for if (count > 1)
  for (int64_t i = 0; i < count; ++i) {
    const auto& [tensor, begin, n] = blocks[i];
    const AdamSlot& slot = slots[tensor];
    FOR_FLOAT(slot.value.dtype(), "optimizer", T,
              update(slot.value.data<T>() + begin, slot.m.data<T>() + begin, slot.v.data<T>() + begin,
                     slot.gradient.data<T>() + begin, AdamFactors<T>(slot.coefficients), n));
  }
}

void gradient_norm(double& norm, const std::vector<Tensor>& gradients) {
  const std::vector<Block> blocks = blocks_of(gradients, [](const Tensor& gradient) { return gradient; });
  const int64_t count = static_cast<int64_t>(blocks.size());
  std::vector<double> sums(blocks.size());
#pragma omp parallel for if (count > 1)
  for (int64_t i = 0; i < count; ++i) {
    const auto& [tensor, begin, n] = blocks[i];
    FOR_FLOAT(gradients[tensor].dtype(), "optimizer", T,
              sums[i] = square_sum(gradients[tensor].data<T>() + begin, n));
  }
  double sum = 0;
  for (const double block : sums) sum += block;
  norm = std::sqrt(sum);
}

}  // namespace cpu

void adam_step(const std::vector<AdamSlot>& slots) {
  if (!slots.empty()) DISPATCH(slots[0].value.device(), adam_step(slots));
}

double gradient_norm(const std::vector<Tensor>& gradients) {
  double norm = 0;
  if (!gradients.empty()) DISPATCH(gradients[0].device(), gradient_norm(norm, gradients));
  return norm;
}

}  // namespace tandem
