// gated_delta_rule on the CPU: one head of one batch row at a time, chunk by chunk, most of it matrix products.
#include "tandem/ops/gated_delta_rule.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/parallel.h"
#include "tandem/core/tap.h"
#include "tandem/ops/gemm/gemm.h"
#include "tandem/ops/support/check_operand.h"
#include "tandem/ops/support/data_or_null.h"
#include "tandem/ops/support/host_f64.h"
#include "tandem/ops/support/thread_scratch.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// Computes y += factor x over n elements.
template <class T>
TANDEM_INLINE void add_scaled_body(T* y, T factor, const T* x, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] += factor * x[j];
}
TANDEM_SIMD void add_scaled(float* y, float factor, const float* x, int64_t n) {
  add_scaled_body(y, factor, x, n);
}
TANDEM_SIMD void add_scaled(double* y, double factor, const double* x, int64_t n) {
  add_scaled_body(y, factor, x, n);
}

// Computes y = factor x over n elements.
template <class T>
TANDEM_INLINE void scale_body(T* y, T factor, const T* x, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = factor * x[j];
}
TANDEM_SIMD void scale_row(float* y, float factor, const float* x, int64_t n) {
  scale_body(y, factor, x, n);
}
TANDEM_SIMD void scale_row(double* y, double factor, const double* x, int64_t n) {
  scale_body(y, factor, x, n);
}

template <class T>
TANDEM_INLINE T dot_body(const T* x, const T* y, int64_t n) {
  T sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += x[j] * y[j];
  return sum;
}
TANDEM_SIMD float dot(const float* x, const float* y, int64_t n) {
  return dot_body(x, y, n);
}
TANDEM_SIMD double dot(const double* x, const double* y, int64_t n) {
  return dot_body(x, y, n);
}

// Computes y_j = e^(from - x_j) over n elements.
template <class T>
TANDEM_INLINE void decays_body(T* y, T from, const T* x, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = fast_exp(from - x[j]);
}
TANDEM_SIMD void decays(float* y, float from, const float* x, int64_t n) {
  decays_body(y, from, x, n);
}
TANDEM_SIMD void decays(double* y, double from, const double* x, int64_t n) {
  decays_body(y, from, x, n);
}

// A matrix in memory: its first element and the distance from one row to the next.
template <class T>
struct Matrix {
  T* first;
  int64_t stride;
  T* row(int64_t i) const { return first + i * stride; }
};

// Computes c (m, n) = op(a) op(b), or c += with accumulate, on this thread; k is the inner size.
struct Product {
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false, accumulate = false;
};
template <class T, class A, class B>
void multiply(const Matrix<T>& c, const Matrix<A>& a, const Matrix<B>& b, const Product& p) {
  cpu::gemm_serial(c.first, a.first, b.first,
                   Gemm{.m = p.m,
                        .n = p.n,
                        .k = p.k,
                        .transpose_a = p.transpose_a,
                        .transpose_b = p.transpose_b,
                        .lda = a.stride,
                        .ldb = b.stride,
                        .ldc = c.stride,
                        .accumulate = p.accumulate});
}

constexpr int64_t kC = kDeltaChunk;

// Returns the rows of head `head` of B H, from time step t on, of x (T, B, H width).
template <class T>
Matrix<T> head_rows(const Tensor& x, int64_t head, int64_t width, int64_t t) {
  const int64_t stride = x.size(1) * x.size(2);
  return {x.data<std::remove_const_t<T>>() + t * stride + head * width, stride};
}

// A chunk of a head: its inputs, and the matrices that both directions compute from them first, (count, count) in rows
// of kC.
template <class T>
struct Chunk {
  int64_t begin, count;  // its time steps
  Matrix<const T> q, k, v;
  T sums[kC], beta[kC];                              // L and beta
  T to_last[kC], from_begin[kC];                     // e^(L_last - L_i) and e^L_i
  T weights[kC * kC];                                // e^(L_i - L_j) for j <= i, else 0
  T key_products[kC * kC], query_products[kC * kC];  // k_i . k_j and q_i . k_j
  T a[kC * kC], p[kC * kC];                          // A and P; 0 where they have no element

  Chunk(const GatedDeltaInputs& in, int64_t head, int64_t index)
      : begin(index * kC),
        count(std::min(kC, in.steps() - begin)),
        q(head_rows<const T>(in.q, head, in.d_key(), begin)),
        k(head_rows<const T>(in.k, head, in.d_key(), begin)),
        v(head_rows<const T>(in.v, head, in.d_value(), begin)) {
    const Matrix<const T> logs = head_rows<const T>(in.log_decay, head, 1, begin),
                          shares = head_rows<const T>(in.beta, head, 1, begin);
    T sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      sums[i] = sum += *logs.row(i);
      beta[i] = *shares.row(i);
      from_begin[i] = fast_exp(sum);
    }
    decays(to_last, sum, sums, count);
    const Product square{count, count, in.d_key(), false, true, false};
    multiply(Matrix<T>{key_products, kC}, k, k, square);
    multiply(Matrix<T>{query_products, kC}, q, k, square);
    for (int64_t i = 0; i < count; ++i) {
      decays(weights + i * kC, sums[i], sums, i + 1);
      for (int64_t j = 0; j < count; ++j) {
        const int64_t at = i * kC + j;
        if (j > i) weights[at] = 0;
        a[at] = j < i ? beta[i] * key_products[at] * weights[at] : T(0);
        p[at] = j <= i ? query_products[at] * weights[at] : T(0);
      }
    }
  }
};

template <class T>
void forward_head(const GatedDeltaInputs& in, const GatedDeltaKept& kept, const Tensor& o, int64_t head, T* s,
                  T* scratch) {
  const int64_t dk = in.d_key(), dv = in.d_value();
  const Matrix<T> state{s, dv}, keys{scratch, dk};
  for (int64_t n = 0; n < in.chunks(); ++n) {
    const Chunk<T> chunk(in, head, n);
    const int64_t count = chunk.count;
    std::copy_n(s, dk * dv, kept.states.data<T>() + (n * in.batch() * in.heads() + head) * dk * dv);
    const Matrix<T> x = head_rows<T>(kept.x, head, dv, chunk.begin),
                    y = head_rows<T>(o, head, dv, chunk.begin);

    // X: first S^T k_i, then R, then the solution, row after row.
    multiply(x, chunk.k, state, {count, dv, dk});
    for (int64_t i = 0; i < count; ++i) {
      scale_row(x.row(i), -chunk.beta[i] * chunk.from_begin[i], x.row(i), dv);
      add_scaled(x.row(i), chunk.beta[i], chunk.v.row(i), dv);
      for (int64_t j = 0; j < i; ++j) add_scaled(x.row(i), -chunk.a[i * kC + j], x.row(j), dv);
    }

    multiply(y, chunk.q, state, {count, dv, dk});
    for (int64_t i = 0; i < count; ++i) {
      scale_row(y.row(i), chunk.from_begin[i], y.row(i), dv);
      scale_row(keys.row(i), chunk.to_last[i], chunk.k.row(i), dk);
    }
    multiply(y, Matrix<const T>{chunk.p, kC}, x, {count, dv, count, false, false, true});
    scale_row(s, chunk.from_begin[count - 1], s, dk * dv);
    multiply(state, keys, x, {dk, dv, count, true, false, true});
  }
}

// Goes back through a chunk, with G the gradient of the state after it and D that of o. In the order of the code:
//
//     dX   = P^T D + K_last G                      K_last: rows e^(L_last - L_j) k_j
//     dQK  = (D X^T) * W                           * : element by element; W: e^(L_i - L_j), j <= i
//     dq_i = e^L_i S d_i + (dQK K)_i               dk_i = e^(L_last - L_i) G x_i + (dQK^T Q)_i
//     dR   = (1 + A)^-T dX                         dA = -dR X^T below the diagonal
//     dKK  = beta_i dA * W                         dbeta_i = dA_i . (K K^T * W)_i + dr_i . (v_i - e^L_i S^T k_i)
//     dk_i += ((dKK + dKK^T) K)_i - beta_i e^L_i S dr_i          dv_i = beta_i dr_i
//     G before = e^L_last G + sum of e^L_i q_i d_i^T - sum of beta_i e^L_i k_i dr_i^T
//
// log_decay_t stands in every e^(L_i - L_j) with j < t <= i, in e^L_i for i >= t, in e^(L_last - L_j) for j < t, and in
// e^L_last; its gradient is the sum of what these factors multiply, times the gradient of the product.
template <class T>
void backward_chunk(const GatedDeltaInputs& in, const GatedDeltaKept& kept, const GatedDeltaGrads& out,
                    const Tensor& d_o, int64_t head, int64_t n, T* g, T* scratch) {
  const int64_t dk = in.d_key(), dv = in.d_value();
  const Chunk<T> chunk(in, head, n);
  const int64_t count = chunk.count, last = count - 1;
  const auto rows = [&](const Tensor& x, int64_t width) { return head_rows<T>(x, head, width, chunk.begin); };
  const Matrix<T> dq = rows(out.dq, dk), dkey = rows(out.dk, dk), dvalue = rows(out.dv, dv),
                  x = rows(kept.x, dv), d = rows(d_o, dv);
  const Matrix<const T> state{kept.states.data<T>() + (n * in.batch() * in.heads() + head) * dk * dv, dv};
  const Matrix<T> gradient{g, dv}, dx{scratch, dv}, keys{scratch + kC * dv, dk},
      corrected{keys.first + kC * dk, dk};
  const Matrix<const T> p{chunk.p, kC};
  // The gradient of log_decay sums these terms: those of the pairs (i, j) with j < i, of e^L_i, and of e^(L_last - L_j).
  T of_pairs[kC * kC], of_past[kC], of_state[kC], square[kC * kC];
  const Matrix<T> pairs{square, kC};

  for (int64_t i = 0; i < count; ++i) scale_row(keys.row(i), chunk.to_last[i], chunk.k.row(i), dk);
  multiply(dx, p, d, {count, dv, count, true, false, false});
  multiply(dx, keys, gradient, {count, dv, dk, false, false, true});

  multiply(pairs, d, x, {count, count, dv, false, true, false});
  for (int64_t i = 0; i < count; ++i)
    for (int64_t j = 0; j < count; ++j) {
      const int64_t at = i * kC + j;
      square[at] = j <= i ? square[at] * chunk.weights[at] : T(0);
      of_pairs[at] = j < i ? square[at] * chunk.query_products[at] : T(0);
    }
  multiply(dq, d, state, {count, dk, dv, false, true, false});
  multiply(dkey, x, gradient, {count, dk, dv, false, true, false});
  for (int64_t i = 0; i < count; ++i) {
    scale_row(dq.row(i), chunk.from_begin[i], dq.row(i), dk);
    scale_row(dkey.row(i), chunk.to_last[i], dkey.row(i), dk);
    of_past[i] = dot(chunk.q.row(i), dq.row(i), dk);
    of_state[i] = dot(chunk.k.row(i), dkey.row(i), dk);
  }
  const T of_all = chunk.from_begin[last] * dot(state.first, g, dk * dv);
  multiply(dq, pairs, chunk.k, {count, dk, count, false, false, true});
  multiply(dkey, pairs, chunk.q, {count, dk, count, true, false, true});

  for (int64_t i = last; i >= 0; --i)
    for (int64_t j = 0; j < i; ++j) add_scaled(dx.row(j), -chunk.a[i * kC + j], dx.row(i), dv);
  const Matrix<T> dr = dx;
  multiply(pairs, dr, x, {count, count, dv, false, true, false});
  multiply(corrected, dr, state, {count, dk, dv, false, true, false});  // S dr_i
  for (int64_t i = 0; i < count; ++i) {
    const T beta = chunk.beta[i], from_begin = chunk.from_begin[i];
    T dbeta = 0;
    for (int64_t j = 0; j < count; ++j) {
      const int64_t at = i * kC + j;
      const T da = j < i ? -square[at] * chunk.weights[at] : T(0), share = da * chunk.key_products[at];
      dbeta += share;
      of_pairs[at] += beta * share;
      square[at] = beta * da;
    }
    const T read = from_begin * dot(chunk.k.row(i), corrected.row(i), dk);  // e^L_i k_i . S dr_i
    *rows(out.dbeta, 1).row(i) = dbeta + dot(dr.row(i), chunk.v.row(i), dv) - read;
    of_past[i] -= beta * read;
    add_scaled(dkey.row(i), -beta * from_begin, corrected.row(i), dk);
    scale_row(dvalue.row(i), beta, dr.row(i), dv);
  }
  multiply(dkey, pairs, chunk.k, {count, dk, count, false, false, true});
  multiply(dkey, pairs, chunk.k, {count, dk, count, true, false, true});

  scale_row(g, chunk.from_begin[last], g, dk * dv);
  for (int64_t i = 0; i < count; ++i) scale_row(keys.row(i), chunk.from_begin[i], chunk.q.row(i), dk);
  multiply(gradient, keys, d, {dk, dv, count, true, false, true});
  for (int64_t i = 0; i < count; ++i)
    scale_row(keys.row(i), -chunk.beta[i] * chunk.from_begin[i], chunk.k.row(i), dk);
  multiply(gradient, keys, dr, {dk, dv, count, true, false, true});

  T dlogs[kC] = {}, past = 0, later = of_all;
  for (int64_t i = 1; i < count; ++i) {
    T before = 0;
    for (int64_t t = 1; t <= i; ++t) dlogs[t] += before += of_pairs[i * kC + t - 1];
  }
  for (int64_t t = last; t >= 0; --t) dlogs[t] += past += of_past[t];
  for (int64_t t = 0; t < count; ++t) {
    *rows(out.dlog_decay, 1).row(t) = dlogs[t] + later;
    later += of_state[t];
  }
}

// Calls f(head, scratch) for every head of every batch row, with memory for rows of a chunk.
template <class T, class F>
void for_heads(const GatedDeltaInputs& in, int64_t rows, const F& f) {
  const int64_t heads = in.batch() * in.heads(), width = std::max(in.d_key(), in.d_value());
  const bool parallel = heads > 1 && in.v.numel() * in.d_key() > kParallelGrain;
  const cpu::ThreadScratch scratch(rows * kC * width * static_cast<int64_t>(sizeof(T)), parallel);
  cpu::parallel_for(heads, parallel, [&](int64_t head) { f(head, scratch.own<T>()); });
}

// Takes a state one step further, and returns the sum of its squares. correction (dv) is scratch.
double step_state(double* s, double* correction, const double* k, const double* v, double decay, double beta,
                  int64_t d_key, int64_t d_value) {
  std::copy_n(v, d_value, correction);
  for (int64_t i = 0; i < d_key * d_value; ++i) {
    s[i] *= decay;
    correction[i % d_value] -= s[i] * k[i / d_value];
  }
  double squares = 0;
  for (int64_t i = 0; i < d_key * d_value; ++i) {
    s[i] += k[i / d_value] * beta * correction[i % d_value];
    squares += s[i] * s[i];
  }
  return squares;
}

// Offers the decay, beta and the length of the state of every step, (T, B, H), from the recurrence step by step.
void offer_values(const GatedDeltaInputs& in) {
  const Tensor k = host_f64(in.k), v = host_f64(in.v), beta = host_f64(in.beta),
               log_decay = host_f64(in.log_decay), s0 = host_f64(in.s0);
  const Tensor decay = empty_like(beta), norm = empty_like(beta);
  const int64_t heads = in.batch() * in.heads(), d_key = in.d_key(), d_value = in.d_value();
  cpu::parallel_for(heads, true, [&](int64_t head) {
    std::vector<double> s(static_cast<size_t>(d_key * d_value), 0.0),
        correction(static_cast<size_t>(d_value));
    if (s0.defined()) std::copy_n(s0.data<double>() + head * d_key * d_value, d_key * d_value, s.data());
    for (int64_t t = 0; t < in.steps(); ++t) {
      const int64_t at = t * heads + head;
      decay.data<double>()[at] = std::exp(log_decay.data<double>()[at]);
      norm.data<double>()[at] = std::sqrt(step_state(
          s.data(), correction.data(), k.data<double>() + at * d_key, v.data<double>() + at * d_value,
          decay.data<double>()[at], beta.data<double>()[at], d_key, d_value));
    }
  });
  Tap::offer("gated_delta_rule.decay", decay);
  Tap::offer("gated_delta_rule.beta", beta);
  Tap::offer("gated_delta_rule.state_norm", norm);
}

}  // namespace

namespace cpu {

void gated_delta_rule_forward(const Tensor& o, const Tensor& state, const GatedDeltaKept& kept,
                              const GatedDeltaInputs& in) {
  dispatch_float(in.q.dtype(), "gated_delta_rule", [&]<class T>() {
    copy_or_zeros(state, in.s0);
    const int64_t size = in.d_key() * in.d_value();
    for_heads<T>(in, 1, [&](int64_t head, T* scratch) {
      forward_head(in, kept, o, head, state.data<T>() + head * size, scratch);
    });
  });
}

void gated_delta_rule_backward(const GatedDeltaGrads& out, const Tensor& d_o, const Tensor& dstate,
                               const GatedDeltaKept& kept, const GatedDeltaInputs& in) {
  dispatch_float(in.q.dtype(), "gated_delta_rule", [&]<class T>() {
    copy_or_zeros(out.ds0, dstate);
    const Tensor d = d_o.defined() ? d_o : zeros(in.v.shape(), in.v.dtype());
    const int64_t size = in.d_key() * in.d_value();
    for_heads<T>(in, 3, [&](int64_t head, T* scratch) {
      for (int64_t n = in.chunks() - 1; n >= 0; --n)
        backward_chunk(in, kept, out, d, head, n, out.ds0.data<T>() + head * size, scratch);
    });
  });
}

}  // namespace cpu

GatedDeltaResult gated_delta_rule(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& log_decay,
                                  const Tensor& beta, const Tensor& s0) {
  const GatedDeltaInputs in{q, k, v, log_decay, beta, s0};
  check_floating("gated_delta_rule",
                 {{"q", q}, {"k", k}, {"v", v}, {"log_decay", log_decay}, {"beta", beta}});
  TANDEM_CHECK(
      q.rank() == 3 && q.size(0) > 0 && q.size(2) > 0,
      "gated_delta_rule: q is {}; it must be (T, B, H dk) with at least one time step and one column",
      q.shape().str());
  TANDEM_CHECK(beta.rank() == 3 && beta.size(2) > 0 && q.size(2) % beta.size(2) == 0,
               "gated_delta_rule: beta is {}, q is {}; beta must be (T, B, H), and H must divide q's last",
               beta.shape().str(), q.shape().str());
  const int64_t heads = in.heads();
  TANDEM_CHECK(v.rank() == 3 && v.size(2) > 0 && v.size(2) % heads == 0,
               "gated_delta_rule: v is {}, and beta has {} heads; v must be (T, B, H dv)", v.shape().str(),
               heads);
  const DType state_dtype = parameter_dtype(q.dtype());
  const MainOperand main{"gated_delta_rule", "q", q};
  check_operand(main, "k", k, q.shape(), q.dtype());
  check_operand(main, "v", v, q.shape().with(2, v.size(2)), q.dtype());
  TANDEM_CHECK(log_decay.shape() == beta.shape(),
               "gated_delta_rule: log_decay is {}, beta is {}; they must have one shape",
               log_decay.shape().str(), beta.shape().str());
  check_operand(main, "log_decay", log_decay, q.shape().with(2, heads), state_dtype);
  check_operand(main, "beta", beta, q.shape().with(2, heads), state_dtype);
  const Shape row{q.size(1), heads * in.d_key() * in.d_value()};
  TANDEM_CHECK(!s0.defined() || s0.shape() == row,
               "gated_delta_rule: s0 is {}, q is {}, v is {}; s0 must be (B, H dk dv), {}", s0.shape().str(),
               q.shape().str(), v.shape().str(), row.str());
  if (s0.defined()) check_operand(main, "s0", s0, row, state_dtype);

  const Tensor o = empty_like(v), state(row, state_dtype, q.device());
  const GatedDeltaKept kept{Tensor({in.chunks(), row[0], row[1]}, state_dtype, q.device()),
                            Tensor(v.shape(), state_dtype, q.device())};
  TANDEM_DISPATCH(q.device(), gated_delta_rule_forward(o, state, kept, in));
  if (Tap::is_heard()) offer_values(in);
  const std::vector<Tensor> ys =
      record("gated_delta_rule", {o, state}, {q, k, v, log_decay, beta, s0},
             [in, kept, row](const Grads& dys) -> Grads {
               const GatedDeltaGrads out{empty_like(in.q),    empty_like(in.k),
                                         empty_like(in.v),    empty_like(in.log_decay),
                                         empty_like(in.beta), Tensor(row, kept.x.dtype(), in.q.device())};
               TANDEM_DISPATCH(in.q.device(), gated_delta_rule_backward(out, dys[0], dys[1], kept, in));
               return {out.dq, out.dk, out.dv, out.dlog_decay, out.dbeta, out.ds0};
             });
  return {ys[0], ys[1]};
}

}  // namespace tandem
