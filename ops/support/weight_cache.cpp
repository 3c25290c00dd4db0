// Keeps the bf16 copies and the packed forms of weights with their leaves.
#include "ops/support/weight_cache.h"

#include <mutex>

#include "autograd/gradient.h"
#include "core/array.h"
#include "core/check.h"
#include "ops/gemm/precision.h"

namespace tandem {
namespace {

ComputeContext generating_context() {
  ComputeContext context = compute_context();
  context.generating = true;
  return context;
}

std::mutex packing;  // models may generate on several threads at once

}  // namespace

Tensor weight_as(const Tensor& weight, DType dtype) {
  if (weight.dtype() == dtype) return weight;
  if (!weight.node() || !weight.node()->is_leaf() || dtype != DType::bf16) return weight.to(dtype);
  GradNode& leaf = *weight.node();
  const uint64_t version = weight.storage()->version();
  if (leaf.low_precision.defined() && leaf.low_precision_version == version) return leaf.low_precision;
  const AllocationScope lasting(kComputeStream);  // the copy outlives a CUDA graph that is being captured
  if (!leaf.low_precision.defined()) leaf.low_precision = Tensor(weight.shape(), dtype, weight.device());
  copy(leaf.low_precision, weight);
  leaf.low_precision_version = version;
  return leaf.low_precision;
}

DType activation_dtype(const Tensor& weights) {
  return weights.device().is_cuda() ? cache_dtype(weights) : weights.dtype();
}

DType cache_dtype(const Tensor& weights) {
  const bool rounds = weights.dtype() == DType::f32 && matmul_precision() == MatmulPrecision::bf16;
  return rounds ? DType::bf16 : weights.dtype();
}

Tensor low_precision_copy(const Tensor& leaf) {
  return leaf.node() ? leaf.node()->low_precision : Tensor();
}

void mark_low_precision_current(const Tensor& leaf) {
  leaf.storage()->touch();
  if (!leaf.node()) return;
  leaf.node()->low_precision_version = leaf.storage()->version();
  leaf.node()->packed.reset();
}

void set_int8(const Tensor& leaf, std::shared_ptr<const Int8Weight> form) {
  CHECK(leaf.node() && leaf.node()->is_leaf() && leaf.dtype() == DType::f32 && leaf.device().is_cpu(),
        "int8: {} cannot have an 8-bit form; it must be a leaf, f32 on the CPU", leaf.str());
  CHECK(leaf.shape() == Shape({form->out, form->in}), "int8: the form is ({}, {}), the weight is {}",
        form->out, form->in, leaf.str());
  leaf.node()->int8 = std::move(form);
  leaf.node()->int8_version = leaf.storage()->version();
}

const Int8Weight* int8_form(const Tensor& weight) {
  const GradNode* node = weight.node().get();
  return node && node->int8 && node->int8_version == weight.storage()->version() ? node->int8.get() : nullptr;
}

GenerationScope::GenerationScope() : ComputeScope(generating_context()) {}

std::shared_ptr<const Bf16Weight> bf16_form(const Tensor& weight, int64_t rows, MatmulPrecision precision) {
  GradNode* const node = weight.node().get();
  if (!compute_context().generating || precision != MatmulPrecision::bf16 || !node || !node->is_leaf() ||
      weight.dtype() != DType::f32 || !weight.device().is_cpu() || weight.numel() == 0 ||
      rows > cpu::kMostKeptRows)
    return nullptr;
  const std::scoped_lock lock(packing);
  const uint64_t version = weight.storage()->version();
  if (!node->packed || node->packed_version != version) {
    node->packed = std::make_shared<const Bf16Weight>(weight);
    node->packed_version = version;
  }
  return node->packed;
}

}  // namespace tandem
