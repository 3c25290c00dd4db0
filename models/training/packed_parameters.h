// On-disk form of compressed parameters. A checkpoint stores a parameter NAME that was pruned or quantized as
//
//     NAME.mask    u8       pruned:     1 bit per element, lowest bit of a byte first; 1: the weight is kept
//     NAME.values  f32      pruned:     the kept weights in order, unless they are quantized
//     NAME.codes   u8       quantized:  `bits` bits per kept weight, packed without gaps, lowest bit first
//     NAME.scale   f32 (2)  quantized:  step and zero of w = step (code - zero)
//
// in place of the tensor NAME. A JSON object lists all of them: {"NAME": {"shape": [512, 128], "bits": 8},
// ...}, with 32 bits for values.
#pragma once
#include "tandem/models/training/checkpoint.h"

namespace tandem {

struct PackedParameters {
  std::vector<NamedTensor> tensors;
  std::string index;  // the JSON object; "" if no parameter is compressed
};

PackedParameters pack_parameters(const Checkpoint& checkpoint);

// Puts parameters, masks and codes into the checkpoint.
// Error naming the parameter: a tensor that is missing, left over, or of another size than the index says; bits
// that no number uses; an unreadable index.
void unpack_parameters(Checkpoint& checkpoint, const PackedParameters& packed);

// Packs numbers of `bits` bits each, 1 to 8, into bytes without gaps; and unpacks `count` of them.
Tensor pack_bits(const std::vector<uint8_t>& numbers, int bits);
std::vector<uint8_t> unpack_bits(const Tensor& bytes, int bits, int64_t count);

}  // namespace tandem
