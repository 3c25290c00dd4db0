// Checks operands.
#include "tandem/ops/support/check_operand.h"

#include <algorithm>

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
               "{}: {} is {}, but {} is {}; give {} in {}, on the device of {}", op, what, w.summary(), name,
               value.summary(), what, name_of(dtype), name);
}

void check_repeatable(const char* op, const Tensor& a, const Tensor& b, DType dtype_of_b) {
  TANDEM_CHECK(b.dtype() == dtype_of_b && a.device() == b.device(),
               "{}: a is {}, b is {}; bring both to one dtype and device with .to()", op, a.summary(),
               b.summary());
  const Shape &shape = a.shape(), &end = b.shape();
  TANDEM_CHECK(end.rank() <= shape.rank() && std::equal(end.begin(), end.end(), shape.end() - end.rank()),
               "{}: shapes do not fit: a is {}, b is {}; b's must be a's or the end of a's", op, shape.str(),
               end.str());
}

}  // namespace tandem
