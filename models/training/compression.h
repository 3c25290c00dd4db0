// Compression of trained weights: pruning by magnitude and uniform quantization, as in Li, Wallace et al.,
// "Train Large, Then Compress" (ICML 2020, arXiv 2002.11794).
#pragma once
#include <string>
#include <vector>

#include "models/named_tensor.h"

namespace tandem {

// Matrices are compressed, embeddings among them. Biases, gains and scalars, a thousandth of the weights,
// stay in f32.
bool is_compressed(const NamedTensor& parameter);

// The weights that compete for being kept: those of one matrix, or those of all.
enum class PruningScope { layer, global };

// Sets the smallest weights by magnitude to 0, so that of each scope's weights `sparsity` (rounded to a whole
// number of them) are 0; of equal ones the earlier go first. What is 0 stays so: iterative pruning calls this
// with growing sparsities. Returns the masks: u8, of the parameter's shape, 0 where the weight is pruned.
// Changes `parameters` in place: f32 on the CPU. Error: sparsity outside [0, 1); a matrix of another dtype or
// device, or not finite.
std::vector<NamedTensor> prune(const std::vector<NamedTensor>& parameters, double sparsity,
                               PruningScope scope);

// Weights in few bits: w = step (code - zero).
struct Quantized {
  Tensor codes;  // u8, of the tensor's shape, below 2^bits
  float step = 0;
  float zero = 0;
  int bits = 8;
};

// Post-training quantization over the range of one f32 tensor on the CPU:
//
//     step = (max - min) / (2^bits - 1),   code = round((w - min) / step),   zero = -min / step
//
// With `exact_zero` the range takes in 0 and zero is rounded to a whole code, so that 0 stays exactly 0, as
// pruned weights must; a constant tensor gets this range, too. Error: bits outside 2..8; another dtype; a
// value that is not finite.
Quantized quantize(const Tensor& w, int bits, bool exact_zero);
Tensor dequantize(const Quantized& q);  // f32

}  // namespace tandem
