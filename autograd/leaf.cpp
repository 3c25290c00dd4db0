// Leaves and their gradients.
#include "tandem/autograd/leaf.h"

#include <utility>

#include "tandem/core/arguments.h"
#include "tandem/core/check.h"

namespace tandem {

Tensor requires_grad(const Tensor& x) {
  check_defined("requires_grad", {{"x", x}});
  TANDEM_CHECK(is_floating(x.dtype()), "requires_grad: x is {}, which has no gradient; use a floating dtype",
               x.summary());
  TANDEM_CHECK(!x.node() || x.node()->is_leaf(),
               "requires_grad: x, {}, is the result of a recorded operator; detach() it to make a leaf of it",
               x.summary());
  if (!x.node()) x.set_node(std::make_shared<GradNode>());
  x.storage()->set_holds_leaf();
  return x;
}

Tensor requires_grad(const Tensor& x, std::string name) {
  TANDEM_CHECK(!name.empty(), "requires_grad: the name for {} is empty; leave it out for a leaf without one",
               x.summary());
  requires_grad(x).node()->name = std::move(name);
  return x;
}

bool needs_grad(const Tensor& x) {
  return x.defined() && x.node() != nullptr;
}

Tensor grad(const Tensor& leaf) {
  check_defined("grad", {{"leaf", leaf}});
  TANDEM_CHECK(leaf.node() && leaf.node()->is_leaf(),
               "grad: leaf, {}, is not a leaf; call requires_grad() on it first", leaf.summary());
  return leaf.node()->grad;
}

void zero_grad(const Tensor& leaf) {
  check_defined("zero_grad", {{"leaf", leaf}});
  TANDEM_CHECK(leaf.node() && leaf.node()->is_leaf(),
               "zero_grad: leaf, {}, is not a leaf; call requires_grad() on it first", leaf.summary());
  leaf.node()->grad = Tensor();
}

}  // namespace tandem
