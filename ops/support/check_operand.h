// Operands of an operator that must fit its main one: the check that operators share.
#pragma once
#include "core/tensor.h"

namespace tandem {

// The main operand of `op`, by the name it has in the operator's header.
struct MainOperand {
  const char* op;
  const char* name;
  const Tensor& value;
};

// Error: w, the operand `what`, is not of this shape and dtype, or not on the main operand's device.
void check_operand(const MainOperand& main, const char* what, const Tensor& w, const Shape& shape,
                   DType dtype);

}  // namespace tandem
