// Buffers for gradients that are added to in place.
#include "tandem/autograd/accumulate.h"

#include "tandem/autograd/leaf.h"

namespace tandem {

GradTarget grad_target(const Tensor& w) {
  if (!needs_grad(w)) return {};
  if (!w.node()->is_leaf()) return {empty_like(w), false};
  Tensor& own = w.node()->grad;
  const bool accumulate = own.defined();
  if (!accumulate) own = empty_like(w);
  return {own, accumulate};
}

}  // namespace tandem
