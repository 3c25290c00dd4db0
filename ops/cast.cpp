// cast: a conversion by Tensor::to(), and its tape entry.
#include "tandem/ops/cast.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"

namespace tandem {

Tensor cast(const Tensor& x, DType dtype) {
  check_defined("cast", {{"x", x}});
  TANDEM_CHECK(is_floating(x.dtype()) && is_floating(dtype),
               "cast: x is {}, dtype {}; both must be floating, and Tensor::to() converts the others",
               x.summary(), name_of(dtype));
  return record("cast", x.detach().to(dtype), {x},
                [from = x.dtype()](const Tensor& dy) -> Grads { return {dy.to(from)}; });
}

}  // namespace tandem
