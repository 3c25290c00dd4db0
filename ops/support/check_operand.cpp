// Checks operands.
#include "tandem/ops/support/check_operand.h"

#include "tandem/core/arguments.h"
#include "tandem/core/check.h"

namespace tandem {

void check_operand(const MainOperand& main, const char* what, const Tensor& w, const Shape& shape,
                   DType dtype) {
  const auto& [op, name, value] = main;
  check_defined(op, {{what, w}});
  TANDEM_CHECK(w.shape() == shape, "{}: {} is {}, but {} is {} and takes {} {}", op, what, w.shape().str(),
               name, value.shape().str(), what, shape.str());
  TANDEM_CHECK(w.dtype() == dtype && w.device() == value.device(),
               "{}: {} is {}, but {} is {}; give {} in {}, on the device of {}", op, what, w.str(), name,
               value.str(), what, name_of(dtype), name);
}

}  // namespace tandem
