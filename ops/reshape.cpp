// reshape: the view, and its tape entry.
#include "tandem/ops/reshape.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"

namespace tandem {

Tensor reshape(const Tensor& x, Shape shape) {
  check_defined("reshape", {{"x", x}});
  TANDEM_CHECK(x.numel() == shape.numel(),
               "reshape: x is {} with {} elements, {} has {}; the number must stay", x.shape().str(),
               x.numel(), shape.str(), shape.numel());
  const Shape from = x.shape();
  return record("reshape", x.view_as(shape), {x},
                [from](const Tensor& dy) -> Grads { return {dy.view_as(from)}; });
}

}  // namespace tandem
