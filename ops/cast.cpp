// cast: a conversion by Tensor::to(), and its tape entry.
#include "ops/cast.h"

#include "autograd/tape.h"
#include "core/check.h"

namespace tandem {

Tensor cast(const Tensor& x, DType dtype) {
  CHECK(x.defined() && is_floating(x.dtype()) && is_floating(dtype),
        "cast: from {} to {}; both must be floating, and Tensor::to() converts the others", x.str(),
        name_of(dtype));
  return record("cast", x.to(dtype), {x},
                [from = x.dtype()](const Tensor& dy) -> Grads { return {dy.to(from)}; });
}

}  // namespace tandem
