// relative_attention: runs the kernels of causal_attention with a position term.
#include "tandem/ops/relative_attention.h"

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/tap.h"
#include "tandem/ops/arithmetic.h"
#include "tandem/ops/attention_cpu/weights.h"
#include "tandem/ops/linear.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

void check_bias(const char* name, const Tensor& bias, const Tensor& q) {
  TANDEM_CHECK(bias.rank() == 1 && bias.size(0) == q.size(2), "relative_attention: {} is {}; it must be ({})",
               name, bias.shape().str(), q.size(2));
  TANDEM_CHECK((bias.dtype() == q.dtype() || bias.dtype() == parameter_dtype(q.dtype())) &&
                   bias.device() == q.device(),
               "relative_attention: q is {}, {} is {}; they must have one dtype and one device", q.summary(),
               name, bias.summary());
}

// Returns q + bias.
Tensor biased(const Tensor& q, const Tensor& bias) {
  Tensor y = empty_like(q);
  TANDEM_DISPATCH(q.device(), arithmetic(y, q, weight_as(bias, q.dtype()), Arithmetic::add));
  return y;
}

Tensor bias_gradient(const Tensor& bias, const Tensor& dy) {
  const GradTarget target = grad_target(bias);
  TANDEM_DISPATCH(dy.device(), linear_backward_bias(target.grad, dy, target.accumulate));
  return target.grad;
}

}  // namespace

// backward computes the content queries q + u and the position queries q + v again instead of saving them:
//   dq = d(q + u) + d(q + v),    du, dv = the sums of the rows of d(q + u) and of d(q + v)
Tensor relative_attention(const Tensor& q, const Tensor& kv, const Tensor& r, const Tensor& u,
                          const Tensor& v, const AttentionOptions& options) {
  check_defined("relative_attention", {{"q", q}, {"kv", kv}, {"r", r}, {"u", u}, {"v", v}});
  check_attention("relative_attention", q, kv, q.dtype(), options);
  TANDEM_CHECK(r.rank() == 2 && r.size(0) >= 1 && r.size(1) == q.size(2),
               "relative_attention: r is {}; it must be (P, {}), a row for each distance, P at least 1",
               r.shape().str(), q.size(2));
  TANDEM_CHECK(r.dtype() == q.dtype() && r.device() == q.device(),
               "relative_attention: q is {}, r is {}; they must have one dtype and one device", q.summary(),
               r.summary());
  check_bias("u", u, q);
  check_bias("v", v, q);
  const AttentionKernel kernel{options, matmul_precision(), attention_tuning()};
  Tensor y = empty_like(q);
  Tensor lse({q.size(1), options.heads, q.size(0)}, parameter_dtype(q.dtype()), q.device());
  TANDEM_DISPATCH(q.device(), attention_forward(y, lse, biased(q, u), kv, {biased(q, v), r}, kernel));
  if (Tap::is_heard())
    Tap::offer("relative_attention.weights", attention_weights(biased(q, u), kv, {biased(q, v), r}, options));
  const bool wants_u = needs_grad(u), wants_v = needs_grad(v);
  return record("relative_attention", y, {q, kv, r, u, v},
                [q, kv, r, u, v, y, lse, kernel, wants_u, wants_v](const Tensor& dy) -> Grads {
                  Tensor dq = empty_like(q), dkv = empty_like(kv), dposition_q = empty_like(q),
                         dr = empty_like(r);
                  TANDEM_DISPATCH(q.device(), attention_backward(dq, dkv, {dposition_q, dr}, dy, biased(q, u),
                                                                 kv, {biased(q, v), r}, y, lse, kernel));
                  const Tensor du = wants_u ? bias_gradient(u, dq) : Tensor();
                  const Tensor dv = wants_v ? bias_gradient(v, dposition_q) : Tensor();
                  add_in_place(dq, dposition_q);
                  return {dq, dkv, dr, du, dv};
                });
}

}  // namespace tandem
