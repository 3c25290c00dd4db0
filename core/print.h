// Printing of tensors with their values, by Tensor::str() and <<, as NumPy shows arrays:
//
//     [[ 1.    2.5 ]
//      [-3.    0.25]] f32 (2, 2) on cpu
//
// A tensor of more than 1000 elements shows the first three and the last three along each axis, with "..." between them.
// Four digits follow the point; where that does not tell values apart, because they are very large or very small, numbers
// are written with an exponent. An undefined tensor gives "undefined tensor". Printing waits for the device.
#pragma once
#include <iosfwd>

#include "tandem/core/tensor.h"

namespace tandem {

// Writes x.str().
std::ostream& operator<<(std::ostream& stream, const Tensor& x);

}  // namespace tandem
