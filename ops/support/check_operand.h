// Checks that an operand fits the main operand of its operator.
#pragma once
#include "tandem/core/tensor.h"

namespace tandem {

// The main operand of `op`, with the name that the header of the operator gives it.
struct MainOperand {
  const char* op;
  const char* name;
  const Tensor& value;
};

// Checks w, the operand called `what`. Error: w is undefined, does not have this shape and dtype, or is not on the device
// of the main operand.
void check_operand(const MainOperand& main, const char* what, const Tensor& w, const Shape& shape,
                   DType dtype);

// Checks b, which an elementwise operator repeats over the leading axes of a. Error: a and b are on different devices; b
// does not have this dtype, or its shape is neither a's nor the end of a's.
void check_repeatable(const char* op, const Tensor& a, const Tensor& b, DType dtype_of_b);

}  // namespace tandem
