// How a checkpoint keeps parameters that were pruned or quantized. In place of the tensor NAME:
//
//     NAME.mask    u8       one bit per element, the lowest bit of a byte first; 1: the weight was kept (pruned only)
//     NAME.values  f32      the weights that were kept, in order (not quantized)
//     NAME.codes   u8       `bits` bits per weight without gaps, the lowest bit first (quantized: instead of values)
//     NAME.scale   f32 (2)  step and zero of w = step * (code - zero) (quantized only)
//
// and for each an entry {"NAME": {"shape": [512, 128], "bits": 8}} of a JSON object, 32 bits for values.
#pragma once
#include "models/training/checkpoint.h"

namespace tandem {

struct PackedParameters {
  std::vector<NamedTensor> tensors;
  std::string index;  // the JSON object; "" where every parameter is kept as it is
};

PackedParameters pack_parameters(const Checkpoint& checkpoint);

// Puts parameters, masks and codes into the checkpoint. Error naming the parameter: a tensor that is missing,
// or of another size than the index says; an index that cannot be read.
void unpack_parameters(Checkpoint& checkpoint, const PackedParameters& packed);

// Numbers of `bits` each, 1 to 8, as bytes, and `count` of them back.
Tensor pack_bits(const std::vector<uint8_t>& numbers, int bits);
std::vector<uint8_t> unpack_bits(const Tensor& bytes, int bits, int64_t count);

}  // namespace tandem
