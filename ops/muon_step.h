// muon_step: moves matrices along their orthogonalised momentum, in place. Not on the tape.
#pragma once
#include <cmath>
#include <cstdint>
#include <vector>

#include "tandem/core/macros.h"
#include "tandem/core/tensor.h"

namespace tandem {

// A matrix, its gradient and its momentum, which have one shape and are all f32 or all f64.
struct MuonSlot {
  Tensor value, gradient, m;
  Tensor copy;  // bf16, same shape: receives the rounded new value; may be undefined
  // The same shape and dtype; 0 where a weight is pruned, so that the new value is 0 too. It may be undefined.
  Tensor mask;
};

struct MuonRule {
  double beta = 0.95;
  double weight_decay = 0.1;
};

// Updates all matrices once. All tensors are on one device, and the update is asynchronous. Call it after
// optimizer_step(), which writes `outcome`: if that says that the step was skipped, nothing changes here either.
// For each matrix p with gradient g:
//
//     m = beta m + (1 - beta) g              u = beta m + (1 - beta) g          (Nesterov's momentum)
//     X = u / (|u| + 1e-7), transposed if p has more rows than columns          (|.| the Frobenius norm)
//     five times:  A = X X',  P = a I + b A + c A A,  X = P X,  (a, b, c) = (3.4445, -4.7750, 2.0315)
//     p = p - lr (weight_decay p + 0.2 sqrt(max(rows, columns)) X)              (X transposed back)
//
// The iteration brings the singular values of X near 1: X becomes the orthogonal factor of u, roughly. The factor
// before it gives an update the size of Adam's, so that Adam's learning rates and weight decay carry over. Products of
// f32 matrices are in matmul_precision(); in bf16 on a GPU X, A and P are stored in bf16 too. Where muon_works_on_gram(), the
// matrix is multiplied once, by the product of all P, and A = P A P gives the next A, in f32 or f64.
//
// lr is f64 (1) and finite; outcome is f64 (3), with a StepOutcomeElement each. Matrices of one shape, transposed or
// not, share their products. The bits depend neither on the number of threads nor on the other matrices' values.
// Error: lr or outcome has another shape, dtype or device; a value is not a matrix of f32 or f64; another tensor of a slot
// does not fit its value.
//
// Jordan et al., "Muon: An optimizer for hidden layers in neural networks" (2024, kellerjordan.github.io/posts/muon);
// Liu et al., "Muon is Scalable for LLM Training" (2025, arXiv 2502.16982), section 2.2, for the factor.
void muon_step(const std::vector<MuonSlot>& slots, const MuonRule& rule, const Tensor& lr,
               const Tensor& outcome);

inline constexpr double kMuonEps = 1e-7;
inline constexpr int kMuonIterations = 5;
// Returns whether the iteration runs on the small matrices A = X X' alone, which is half of the work for a long matrix and
// needs exact products: in f64, in f32, and on a CPU in bf16, too, where half of the products in f32 take no longer than all in
// bf16.
bool muon_works_on_gram(DType dtype, Device device, int64_t shorter, int64_t longer);

// The coefficients of the polynomial a I + b A + c A A.
struct MuonPolynomial {
  double a = 3.4445, b = -4.7750, c = 2.0315;
};

// The factors in the last line of the update.
struct MuonFactors {
  double decay;  // learning rate times weight decay
  double rate;   // learning rate times the factor of the shape
};
TANDEM_HD inline MuonFactors muon_factors(const MuonRule& rule, double lr, int64_t longer_axis) {
  return {lr * rule.weight_decay, lr * 0.2 * std::sqrt(static_cast<double>(longer_axis))};
}

// One element, for the CPU loop and the CUDA kernel. The first gives the new m from the old one, and u from the new one.
template <class T>
TANDEM_HD TANDEM_INLINE T muon_momentum(T m, T gradient, T beta) {
  return beta * m + (T(1) - beta) * gradient;
}
// Returns an element of P from those of I, A and A A.
template <class T>
TANDEM_HD TANDEM_INLINE T muon_polynomial_element(T identity, T a, T aa) {
  constexpr MuonPolynomial k;
  return T(k.a) * identity + T(k.b) * a + T(k.c) * aa;
}
template <class T>
TANDEM_HD TANDEM_INLINE T muon_value(T value, T x, T decay, T rate) {
  return value - (decay * value + rate * x);
}

// The kernels take G matrices of one dtype, at most kMuonBatch, whose shorter axes are equal and whose longer axes are.
// x is (G, shorter, longer). Those of the CPU are only called if the step was not skipped; those of a GPU read
// `outcome`, and of a skipped step they make x 0 and change nothing else.
inline constexpr int64_t kMuonBatch = 64;

namespace cpu {
// Updates m, and writes X before the first iteration.
void muon_begin(const Tensor& x, const std::vector<MuonSlot>& batch, const MuonRule& rule,
                const Tensor& outcome);
// p = a I + b A + c p, where p holds A A and becomes P; both are (G, n, n).
void muon_polynomial(const Tensor& p, const Tensor& a);
// Updates values and copies by X after the last iteration.
void muon_end(const std::vector<MuonSlot>& batch, const Tensor& x, const MuonRule& rule, const Tensor& lr,
              const Tensor& outcome);
}  // namespace cpu

namespace cuda {
void muon_begin(const Tensor& x, const std::vector<MuonSlot>& batch, const MuonRule& rule,
                const Tensor& outcome);
void muon_polynomial(const Tensor& p, const Tensor& a);
void muon_end(const std::vector<MuonSlot>& batch, const Tensor& x, const MuonRule& rule, const Tensor& lr,
              const Tensor& outcome);
}  // namespace cuda

}  // namespace tandem
