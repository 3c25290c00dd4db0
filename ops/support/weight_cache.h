// Cached low-precision copies of weights: bf16 for the GPU, 8-bit or packed bf16 for inference on the CPU. A
// leaf keeps its copies; one is rebuilt, or no longer used, once the version of the leaf's storage has
// changed.
#pragma once
#include <memory>

#include "tandem/core/tensor.h"
#include "tandem/ops/gemm/bf16_weight.h"
#include "tandem/ops/gemm/int8.h"

namespace tandem {

// Returns the elements of `weight` in `dtype`: `weight` itself if that is its dtype, else a copy. A leaf
// keeps its bf16 copy, always in the same memory, and refreshes it only after core/array.h has written to the
// leaf.
Tensor weight_as(const Tensor& weight, DType dtype);

// Returns what weight_as(weight, bf16) returns for an f32 leaf of rank 1 or 2, with rows of zeros after it that make
// their number a multiple of kWeightRows. The leaf keeps the two in the same memory. Undefined for other tensors.
constexpr int64_t kWeightRows = 8;  // 16 bytes of bf16, which cuBLASLt's fast kernels load at once
Tensor padded_bf16(const Tensor& weight);

// Returns the dtype of the activations that are multiplied with such weights: bf16 on a GPU under
// PrecisionScope(bf16), where it makes products many times faster and halves the memory; else the weights'
// own.
DType activation_dtype(const Tensor& weights);

// Returns the dtype of the key/value cache: bf16 if matmuls run in bf16, which rounds keys and values anyway;
// else the dtype of the weights.
DType cache_dtype(const Tensor& weights);

// Returns the cached bf16 copy (undefined if there is none), for the optimizer to update together with the
// leaf.
Tensor low_precision_copy(const Tensor& leaf);
// Declares that the optimizer has written both: the bf16 copy counts as current, and the packed form is
// dropped.
void mark_low_precision_current(const Tensor& leaf);

// Gives a leaf the 8-bit form of what it holds. On a CPU, linear layers, LSTMs and adaptive softmaxes then
// multiply activations with it in int8, in forward only, until the leaf is written to. Error: not a leaf, not
// f32 on the CPU, or of another shape.
void set_int8(const Tensor& leaf, std::shared_ptr<const Int8Weight> form);
// Returns the 8-bit form of what the weight holds now, or null.
const Int8Weight* int8_form(const Tensor& weight);

// Marks this thread as generating while it lives: a weight is read again for every token and rarely written,
// so bf16_form() keeps packed forms.
class GenerationScope : ComputeScope {
 public:
  GenerationScope();
};

// Returns the packed bf16 form of a weight for a product of `rows` rows, or null. There is one for leaves,
// f32 on the CPU, under a GenerationScope, in precision bf16, and for at most cpu::kMostKeptRows rows. The
// leaf keeps it, and it is made anew only after core/array.h has written to the leaf.
std::shared_ptr<const Bf16Weight> bf16_form(const Tensor& weight, int64_t rows, MatmulPrecision precision);

// Returns the dtype of parameters, statistics and carried state used with activations of this dtype: f32 for
// bf16, else the same.
constexpr DType parameter_dtype(DType activations) {
  return activations == DType::bf16 ? DType::f32 : activations;
}

}  // namespace tandem
