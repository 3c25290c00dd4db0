// Keeps the bf16 copies and the packed forms of weights with their leaves.
#include "tandem/ops/support/weight_cache.h"

#include <mutex>

#include "tandem/autograd/leaf.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/math.h"
#include "tandem/ops/gemm/precision.h"

namespace tandem {
namespace {

// What a leaf keeps besides its values: copies in other formats, each with the version of the storage that it was made
// from. A copy of another version is out of date.
struct WeightForms final : LeafExtension {
  Tensor bf16;
  Tensor padded_bf16;  // bf16, and the rows of zeros after it
  uint64_t bf16_version = 0;
  std::shared_ptr<const Int8Weight> int8;
  uint64_t int8_version = 0;
  std::shared_ptr<const Bf16Weight> packed;
  uint64_t packed_version = 0;
};
std::mutex forms_mutex;  // models may generate on several threads at once

// Returns the forms that a leaf keeps; null for other tensors and for a leaf that keeps none.
WeightForms* forms_of(const Tensor& weight) {
  return weight.node() ? static_cast<WeightForms*>(weight.node()->extension.get()) : nullptr;
}

WeightForms& forms_or_new(const Tensor& leaf) {
  if (!leaf.node()->extension) leaf.node()->extension = std::make_shared<WeightForms>();
  return *forms_of(leaf);
}

// Makes room for the bf16 copy of `weight`, with zeros after it if the weight is a matrix or a bias.
void allocate_bf16(WeightForms& forms, const Tensor& weight) {
  if (weight.rank() < 1 || weight.rank() > 2) {
    forms.bf16 = Tensor(weight.shape(), DType::bf16, weight.device());
    return;
  }
  const int64_t rows = weight.size(0);
  const int64_t padded = round_up(rows, kWeightRows);
  forms.padded_bf16 = Tensor(weight.shape().with(0, padded), DType::bf16, weight.device());
  forms.bf16 = forms.padded_bf16.view_rows(0, rows);
  if (padded > rows) fill(forms.padded_bf16.view_rows(rows, padded), 0);
}

ComputeContext generating_context() {
  ComputeContext context = compute_context();
  context.generating = true;
  return context;
}

}  // namespace

Tensor weight_as(const Tensor& weight, DType dtype) {
  if (weight.dtype() == dtype) return weight;
  if (!weight.node() || !weight.node()->is_leaf() || dtype != DType::bf16) return weight.detach().to(dtype);
  WeightForms& forms = forms_or_new(weight);
  const uint64_t version = weight.storage()->version();
  if (forms.bf16.defined() && forms.bf16_version == version) return forms.bf16;
  const AllocationScope lasting(kComputeStream);  // the copy outlives a CUDA graph that is being captured
  if (!forms.bf16.defined()) allocate_bf16(forms, weight);
  copy(forms.bf16, weight);
  forms.bf16_version = version;
  return forms.bf16;
}

Tensor padded_bf16(const Tensor& weight) {
  if (weight.dtype() != DType::f32 || !weight.node() || !weight.node()->is_leaf()) return {};
  weight_as(weight, DType::bf16);
  return forms_of(weight)->padded_bf16;
}

DType activation_dtype(const Tensor& weights) {
  return weights.device().is_cuda() ? cache_dtype(weights) : weights.dtype();
}

DType cache_dtype(const Tensor& weights) {
  const bool rounds = weights.dtype() == DType::f32 && matmul_precision() == MatmulPrecision::bf16;
  return rounds ? DType::bf16 : weights.dtype();
}

Tensor low_precision_copy(const Tensor& leaf) {
  const WeightForms* forms = forms_of(leaf);
  return forms ? forms->bf16 : Tensor();
}

void mark_low_precision_current(const Tensor& leaf) {
  leaf.storage()->touch();
  WeightForms* forms = forms_of(leaf);
  if (!forms) return;
  forms->bf16_version = leaf.storage()->version();
  forms->packed.reset();
}

void set_int8(const Tensor& leaf, std::shared_ptr<const Int8Weight> form) {
  TANDEM_CHECK(leaf.node() && leaf.node()->is_leaf() && leaf.dtype() == DType::f32 && leaf.device().is_cpu(),
               "int8: {} cannot have an 8-bit form; it must be a leaf, f32 on the CPU", leaf.summary());
  TANDEM_CHECK(leaf.shape() == Shape({form->out, form->in}), "int8: the form is ({}, {}), the weight is {}",
               form->out, form->in, leaf.summary());
  const std::scoped_lock lock(forms_mutex);
  WeightForms& forms = forms_or_new(leaf);
  forms.int8 = std::move(form);
  forms.int8_version = leaf.storage()->version();
}

const Int8Weight* int8_form(const Tensor& weight) {
  if (!weight.node()) return nullptr;
  const std::scoped_lock lock(forms_mutex);
  const WeightForms* forms = forms_of(weight);
  return forms && forms->int8 && forms->int8_version == weight.storage()->version() ? forms->int8.get()
                                                                                    : nullptr;
}

GenerationScope::GenerationScope() : ComputeScope(generating_context()) {}

std::shared_ptr<const Bf16Weight> bf16_form(const Tensor& weight, int64_t rows, MatmulPrecision precision) {
  if (!compute_context().generating || precision != MatmulPrecision::bf16 || !weight.node() ||
      !weight.node()->is_leaf() || weight.dtype() != DType::f32 || !weight.device().is_cpu() ||
      weight.numel() == 0 || rows > cpu::kMostKeptRows)
    return nullptr;
  const std::scoped_lock lock(forms_mutex);
  WeightForms& forms = forms_or_new(weight);
  const uint64_t version = weight.storage()->version();
  if (!forms.packed || forms.packed_version != version) {
    forms.packed = std::make_shared<const Bf16Weight>(weight);
    forms.packed_version = version;
  }
  return forms.packed;
}

}  // namespace tandem
