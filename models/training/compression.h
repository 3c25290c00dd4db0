// Compression of trained weights: pruning by magnitude and uniform quantization.
// Li, Wallace et al., "Train Large, Then Compress" (ICML 2020, arXiv 2002.11794).
#pragma once
#include <string>
#include <vector>

#include "tandem/models/named_tensor.h"

namespace tandem {

// Returns whether compression applies to the parameter: true for matrices, including embeddings. Biases, gains
// and scalars, a thousandth of all weights, stay f32.
bool is_compressed(const NamedTensor& parameter);

// The weights that are ranked together: those of each matrix, or those of all matrices.
enum class PruningScope { layer, global };

// Sets the weights of smallest magnitude to 0, in place, until the share `sparsity` of each scope's weights
// (rounded to a whole number) is 0; among equal magnitudes the earlier weight is pruned first. Weights that are
// 0 stay 0, so iterative pruning is a series of calls with growing sparsities. Returns the masks of all
// matrices: u8, of the parameter's shape, 0 where the weight is pruned. Parameters are f32 on the CPU.
// Error: sparsity outside [0, 1); a matrix of another dtype or device, or one with a value that is not finite.
std::vector<NamedTensor> prune(const std::vector<NamedTensor>& parameters, double sparsity,
                               PruningScope scope);

// A tensor quantized to few bits: w = step (code - zero).
struct Quantized {
  Tensor codes;  // u8, of the tensor's shape, each below 2^bits
  float step = 0;
  float zero = 0;
  int bits = 8;
};

// Quantizes an f32 tensor on the CPU over the range of its values:
//
//     step = (max - min) / (2^bits - 1),   code = round((w - min) / step),   zero = -min / step
//
// With `exact_zero` the range includes 0 and zero is rounded to a whole code, so that 0 stays exactly 0, as
// pruned weights must. The range of a constant tensor includes 0 too.
// Error: bits outside 2..8; another dtype; a value that is not finite.
Quantized quantize(const Tensor& w, int bits, bool exact_zero);
// Returns the f32 tensor that the codes stand for.
Tensor dequantize(const Quantized& q);

}  // namespace tandem
