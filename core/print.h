// Printing of tensors with their values, as NumPy shows arrays:
//
//     [[ 1.    2.5 ]
//      [-3.    0.25]] f32 (2, 2) on cpu
//
// A tensor of more than 1000 elements shows the first three and the last three along each axis, with "..." between them.
#pragma once
#include <iosfwd>
#include <string>

#include "tandem/core/tensor.h"

namespace tandem {

// Returns the values, and after them what Tensor::str() says. Four digits follow the point; where that does not tell
// values apart, because they are very large or very small, numbers are written with an exponent. Waits for the device. An
// undefined tensor gives "undefined tensor".
std::string values_text(const Tensor& x);

// Writes values_text(x).
std::ostream& operator<<(std::ostream& stream, const Tensor& x);

}  // namespace tandem
