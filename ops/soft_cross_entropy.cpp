// soft_cross_entropy on the CPU, row by row. The largest logit of each row is subtracted first, so that no exponential
// overflows and an offset of all logits changes nothing.
#include "tandem/ops/soft_cross_entropy.h"

#include <cmath>
#include <limits>
#include <utility>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/cross_entropy.h"
#include "tandem/ops/reduce.h"
#include "tandem/ops/support/check_ids.h"
#include "tandem/ops/support/data_or_null.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

// The sums from which a row's losses and gradients are computed. x and z are the logits of student and teacher minus their
// largest.
template <class T>
struct RowSums {
  T top, teacher_top;
  T hard = 0;     // sum exp(x)
  T soft = 0;     // sum exp(x / T)
  T teacher = 0;  // sum exp(z / T)
  T cross = 0;    // sum exp(z / T) (z - x)
};

template <class T>
TANDEM_INLINE void row_sums_body(RowSums<T>& sums, const T* x, const T* z, T inverse, int64_t n) {
  T top = -std::numeric_limits<T>::infinity(), teacher_top = top;
#pragma omp simd reduction(max : top, teacher_top)
  for (int64_t i = 0; i < n; ++i) {
    top = x[i] > top ? x[i] : top;
    teacher_top = z[i] > teacher_top ? z[i] : teacher_top;
  }
  T hard = 0, soft = 0, teacher = 0, cross = 0;
#pragma omp simd reduction(+ : hard, soft, teacher, cross)
  for (int64_t i = 0; i < n; ++i) {
    const T own = x[i] - top, other = z[i] - teacher_top, share = fast_exp(other * inverse);
    hard += fast_exp(own);
    soft += fast_exp(own * inverse);
    teacher += share;
    cross += share > 0 ? share * (other - own) : T(0);  // 0 log 0 is 0
  }
  sums = {top, teacher_top, hard, soft, teacher, cross};
}
TANDEM_SIMD void row_sums(RowSums<float>& sums, const float* x, const float* z, float inverse, int64_t n) {
  row_sums_body(sums, x, z, inverse, n);
}
TANDEM_SIMD void row_sums(RowSums<double>& sums, const double* x, const double* z, double inverse,
                          int64_t n) {
  row_sums_body(sums, x, z, inverse, n);
}

// dx = hard softmax(x) + soft (softmax(x / T) - softmax(z / T)).
template <class T>
TANDEM_INLINE void row_gradient_body(T* dx, const T* x, const T* z, const RowSums<T>& sums, T inverse, T hard,
                                     T soft, int64_t n) {
  const T top = sums.top, teacher_top = sums.teacher_top;
  const T own_hard = hard / sums.hard, own_soft = soft / sums.soft, taught = soft / sums.teacher;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T own = x[i] - top;
    dx[i] = fast_exp(own) * own_hard +
            (fast_exp(own * inverse) * own_soft - fast_exp((z[i] - teacher_top) * inverse) * taught);
  }
}
TANDEM_SIMD void row_gradient(float* dx, const float* x, const float* z, const RowSums<float>& sums,
                              float inverse, float hard, float soft, int64_t n) {
  row_gradient_body(dx, x, z, sums, inverse, hard, soft, n);
}
TANDEM_SIMD void row_gradient(double* dx, const double* x, const double* z, const RowSums<double>& sums,
                              double inverse, double hard, double soft, int64_t n) {
  row_gradient_body(dx, x, z, sums, inverse, hard, soft, n);
}

void check_inputs(const char* name, const Tensor& logits, const Tensor& targets, const Tensor& teacher,
                  const SoftTargetOptions& options) {
  check_logits_and_targets(name, logits, targets);
  check_floating(name, {{"teacher", teacher}});
  TANDEM_CHECK(teacher.shape() == logits.shape() && teacher.dtype() == logits.dtype() &&
                   teacher.device() == logits.device(),
               "{}: logits are {}, teacher {}; both must have one shape, dtype and device", name,
               logits.summary(), teacher.summary());
  TANDEM_CHECK(targets.numel() > 0, "{}: targets are {}: the mean over no tokens", name, targets.summary());
  TANDEM_CHECK(options.weight >= 0 && options.weight <= 1, "{}: weight {} must be in [0, 1]", name,
               options.weight);
  TANDEM_CHECK(options.temperature > 0 && std::isfinite(options.temperature),
               "{}: temperature {} must be positive and finite", name, options.temperature);
}

// With h = softmax(x), q = softmax(x / T) and p the teacher's:
//     dx_j = ((1 - w) (h_j - [j = target]) + w T (q_j - p_j) share) dy.
SoftCrossEntropy mixed_loss(const Tensor& logits, const Tensor& targets, const Tensor& teacher,
                            const Tensor& shares, const SoftTargetOptions& options) {
  const Tensor loss(targets.shape(), DType::f64, logits.device()), nll = empty_like(loss);
  Tensor gradient;
  if (Tape::current() && needs_grad(logits)) gradient = empty_like(logits);
  const double factor = 1 / static_cast<double>(targets.numel());
  TANDEM_DISPATCH(logits.device(),
                  soft_cross_entropy(loss, nll, gradient, logits, targets, teacher, shares, options, factor));
  const DType dtype = parameter_dtype(logits.dtype());
  // The gradient is given away: a leaf takes memory that no other tensor shares without a copy.
  const auto backward = [gradient](const Tensor& dy) mutable -> Grads {
    TANDEM_DISPATCH(dy.device(), scale_by(gradient, dy));
    return {std::exchange(gradient, Tensor())};
  };
  return {record("soft_cross_entropy", mean(loss).to(dtype), {logits}, backward), mean(nll).to(dtype)};
}

}  // namespace

namespace cpu {

void soft_cross_entropy(const Tensor& loss, const Tensor& nll, const Tensor& dlogits, const Tensor& logits,
                        const Tensor& targets, const Tensor& teacher, const Tensor& shares,
                        const SoftTargetOptions& options, double factor) {
  dispatch_float(logits.dtype(), "soft_cross_entropy", [&]<class T>() {
    double *mixed = loss.data<double>(), *own = nll.data<double>();
    T* dx = data_or_null<T>(dlogits);
    const T *x = logits.data<T>(), *z = teacher.data<T>();
    const double* part = data_or_null<double>(shares);
    const int32_t* target = targets.data<int32_t>();
    const int64_t width = logits.size(-1);
    const double weight = options.weight, t = options.temperature;
    for_rows(targets.numel(), width,
             [mixed, own, dx, x, z, part, target, width, weight, t, factor](int64_t row, int64_t end) {
               const T inverse = static_cast<T>(1 / t), hard = static_cast<T>(factor * (1 - weight));
               for (; row < end; ++row) {
                 const int64_t at = row * width, wanted = target[row];
                 const double share = part ? part[row] : 1;
                 RowSums<T> sums;
                 row_sums(sums, x + at, z + at, inverse, width);
                 own[row] = wanted < 0
                                ? 0
                                : std::log(static_cast<double>(sums.hard)) -
                                      (static_cast<double>(x[at + wanted]) - static_cast<double>(sums.top));
                 const double divergence =
                     static_cast<double>(sums.cross) / (static_cast<double>(sums.teacher) * t) -
                     std::log(static_cast<double>(sums.teacher)) + std::log(static_cast<double>(sums.soft));
                 mixed[row] = (1 - weight) * own[row] + weight * t * t * share * divergence;
                 if (!dx) continue;
                 row_gradient(dx + at, x + at, z + at, sums, inverse, wanted < 0 ? T(0) : hard,
                              static_cast<T>(factor * weight * t * share), width);
                 if (wanted >= 0) dx[at + wanted] -= hard;
               }
             });
  });
}

}  // namespace cpu

SoftCrossEntropy soft_cross_entropy(const Tensor& logits, const Tensor& targets, const Tensor& teacher,
                                    const SoftTargetOptions& options) {
  check_inputs("soft_cross_entropy", logits, targets, teacher, options);
  check_ids("soft_cross_entropy: targets", targets, logits.size(-1));
  return mixed_loss(logits, targets, teacher, {}, options);
}

SoftCrossEntropy soft_cross_entropy_tail(const Tensor& logits, const Tensor& targets, const Tensor& teacher,
                                         const Tensor& shares, const SoftTargetOptions& options) {
  constexpr const char* kName = "soft_cross_entropy_tail";
  check_inputs(kName, logits, targets, teacher, options);
  check_defined(kName, {{"shares", shares}});
  TANDEM_CHECK(shares.dtype() == DType::f64 && shares.shape() == targets.shape() &&
                   shares.device() == targets.device(),
               "{}: shares are {}; they must be f64 {} on the targets' device", kName, shares.summary(),
               targets.shape().str());
  check_ids("soft_cross_entropy_tail: targets", targets, logits.size(-1), -1);  // -1 is no target
  return mixed_loss(logits, targets, teacher, shares, options);
}

}  // namespace tandem
