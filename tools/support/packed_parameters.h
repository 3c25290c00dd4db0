// How a checkpoint keeps parameters that were pruned or quantized. In place of the tensor NAME:
//
//     NAME.mask    u8, one bit an element, the first the lowest of its byte: 1 where there is a weight
//     (pruned only) NAME.values  f32, the weights that there are, in order NAME.codes   u8, instead of
//     values: `bits` a weight, without gaps, the first the lowest NAME.scale   f32 (2), with codes: step and
//     zero of w = step (code - zero)
//
// and for each an entry {"NAME": {"shape": [512, 128], "bits": 8}} of a JSON object, 32 bits for values.
#pragma once
#include "tools/support/checkpoint.h"

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
