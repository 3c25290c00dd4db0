// Weights as kernels want them: on a GPU, activations in bf16 meet weights kept in f32, which are rounded
// once an update and not once a use; on a CPU, weights that were quantized are multiplied in int8, and those
// of a model that generates are packed in bf16 once and not once a token.
#pragma once
#include <memory>

#include "core/tensor.h"
#include "ops/gemm/bf16_weight.h"
#include "ops/gemm/int8.h"

namespace tandem {

// The elements of `weight` in `dtype`: itself where that is its dtype. A leaf keeps its bf16 copy, in one
// place for good, and makes it anew only after core/array.h has written to the leaf.
Tensor weight_as(const Tensor& weight, DType dtype);

// Of the activations that weights like these meet: bf16 on a GPU under PrecisionScope(bf16), where products
// are many times faster in it and memory is half; else the weights' own.
DType activation_dtype(const Tensor& weights);

// Of keys and values that are kept for generation, to be read again for every token: bf16 where products
// round them to it anyway.
DType cache_dtype(const Tensor& weights);

// For the optimizer, which writes both: the copy that a leaf keeps, undefined where there is none; and the
// word that it has been written, upon which a leaf forgets its packed form.
Tensor low_precision_copy(const Tensor& leaf);
void mark_low_precision_current(const Tensor& leaf);

// Gives a leaf the 8-bit form of what it holds: on a CPU, linear layers, LSTMs and adaptive softmaxes then
// multiply activations with it in int8, forward, until somebody writes to the leaf. Error: not a leaf, not
// f32 on the CPU, or of another shape.
void set_int8(const Tensor& leaf, std::shared_ptr<const Int8Weight> form);
// Null where there is none, or none of what the weight holds now.
const Int8Weight* int8_form(const Tensor& weight);

// While one lives, this thread generates: weights are read again for every token and rarely written, so that
// it pays to keep forms of them.
class GenerationScope {
 public:
  GenerationScope();
  ~GenerationScope();
  GenerationScope(const GenerationScope&) = delete;
  GenerationScope& operator=(const GenerationScope&) = delete;

 private:
  bool outer_;
};

// For a product of `rows` rows with a leaf, f32 on the CPU, in bf16 under a GenerationScope: its packed form,
// which the leaf keeps and which is made anew only after core/array.h has written to it. Null elsewhere.
std::shared_ptr<const Bf16Weight> bf16_form(const Tensor& weight, int64_t rows, MatmulPrecision precision);

// The dtype of parameters, statistics and carried state beside activations of this dtype: f32 for bf16, else
// the same.
constexpr DType parameter_dtype(DType activations) {
  return activations == DType::bf16 ? DType::f32 : activations;
}

}  // namespace tandem
