// Runs a case of the table on any device: forward, and backward from random gradients.
#pragma once
#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>

#include "tandem/autograd/tape.h"
#include "tests/support/op_cases.h"

namespace tandem::testing {

inline constexpr uint64_t kSeed = 17;

// True for floating tensors, whose values are compared and whose gradients are asked for.
inline bool is_checked(const Tensor& x) {
  return x.defined() && is_floating(x.dtype());
}

inline Tensors converted(const Tensors& xs, DType dtype) {
  Tensors ys;
  for (const Tensor& x : xs) ys.push_back(is_checked(x) ? x.to(dtype) : x);
  return ys;
}

inline Tensors clones(const Tensors& xs) {
  Tensors ys;
  for (const Tensor& x : xs) ys.push_back(x.defined() ? x.clone() : x);
  return ys;
}

inline bool same_bits(const Tensors& a, const Tensors& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].defined() != b[i].defined()) return false;
    if (!a[i].defined()) continue;
    if (a[i].shape() != b[i].shape() || a[i].dtype() != b[i].dtype()) return false;
    if (a[i].device() != b[i].device()) return false;
    const Tensor x = a[i].detach().to(Device::cpu()), y = b[i].detach().to(Device::cpu());
    if (x.numel() > 0 && std::memcmp(x.raw(), y.raw(), x.nbytes()) != 0) return false;
  }
  return true;
}

struct Result {
  Tensors outputs;
  Tensors gradients;  // of the inputs; undefined if not asked for
};

// The operator y = x. Its result is not a leaf, so the gradient arrives in memory of its own.
inline Tensor pass_through(const Tensor& x) {
  return record("pass_through", x.detach(), {x}, [](const Tensor& dy) -> Grads { return {dy}; });
}

struct Differentiate {
  int only = -1;         // index of the only input whose gradient is asked for; -1: all
  bool through = false;  // inputs reach the operator as results of pass_through() instead of leaves
  int passes = 1;        // number of backward passes, whose gradients add up in the leaves
};

// Runs the case under a tape, then backward from random gradients of the outputs, which are the same in every
// dtype.
inline Result differentiate(const OpCase& op_case, const Tensors& inputs, const Differentiate& how = {}) {
  Result result;
  Tensors leaves = clones(inputs);
  const auto wanted = [&leaves, &how](size_t i) {
    return is_checked(leaves[i]) && (how.only < 0 || how.only == static_cast<int>(i));
  };
  for (size_t i = 0; i < leaves.size(); ++i)
    if (wanted(i)) requires_grad(leaves[i]);
  for (int pass = 0; pass < how.passes; ++pass) {
    Tape tape;
    Tensors xs = leaves;
    if (how.through)
      for (size_t i = 0; i < xs.size(); ++i)
        if (wanted(i)) xs[i] = pass_through(xs[i]);
    result.outputs = op_case.run(xs);
    xs.clear();
    Tensors roots;
    Grads dys;
    for (size_t k = 0; k < result.outputs.size(); ++k) {
      const Tensor& y = result.outputs[k];
      if (!is_checked(y) || !needs_grad(y) || y.node()->is_leaf()) continue;
      roots.push_back(y);
      dys.push_back(random_tensor(y.shape(), y.dtype(), 1000 + k).to(y.device()));
    }
    if (!roots.empty()) tape.backward(roots, dys);
  }
  for (size_t i = 0; i < leaves.size(); ++i)
    result.gradients.push_back(wanted(i) ? grad(leaves[i]) : Tensor());
  return result;
}

template <class F>
void for_each_case(F&& f) {
  const char* only = std::getenv("TANDEM_TEST_OPERATOR");  // the name of one operator; unset: all
  for (const OpCase& op_case : op_cases()) {
    if (only && op_case.op != only) continue;
    INFO("operator ", op_case.op, ", case ", op_case.name);
    // An error thrown by one case must not hide the others.
    try {
      f(op_case);
    } catch (const std::exception& error) {
      FAIL_CHECK("threw: ", std::string(error.what()));
    }
  }
}

}  // namespace tandem::testing
