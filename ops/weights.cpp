// The bf16 copies of weights.
#include "ops/weights.h"

#include "autograd/gradient.h"
#include "core/array.h"
#include "ops/gemm.h"

namespace tandem {

Tensor weight_as(const Tensor& weight, DType dtype) {
  if (weight.dtype() == dtype) return weight;
  if (!weight.node() || !weight.node()->is_leaf() || dtype != DType::bf16) return weight.to(dtype);
  GradNode& leaf = *weight.node();
  const uint64_t version = weight.storage()->version();
  if (leaf.low_precision.defined() && leaf.low_precision_version == version) return leaf.low_precision;
  const AllocationScope lasting(kComputeStream);  // it outlives a graph that is being captured
  if (!leaf.low_precision.defined()) leaf.low_precision = Tensor(weight.shape(), dtype, weight.device());
  copy(leaf.low_precision, weight);
  leaf.low_precision_version = version;
  return leaf.low_precision;
}

DType activation_dtype(const Tensor& weights) {
  const bool halve = weights.device().is_cuda() && weights.dtype() == DType::f32 &&
                     matmul_precision() == MatmulPrecision::bf16;
  return halve ? DType::bf16 : weights.dtype();
}

Tensor low_precision_copy(const Tensor& leaf) {
  return leaf.node() ? leaf.node()->low_precision : Tensor();
}

void mark_low_precision_current(const Tensor& leaf) {
  leaf.storage()->touch();
  if (leaf.node()) leaf.node()->low_precision_version = leaf.storage()->version();
}

}  // namespace tandem
