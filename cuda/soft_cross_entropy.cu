// The loss of distillation: a warp or a block computes one row of the logits of student and teacher.
#include "tandem/ops/soft_cross_entropy.h"

#include <cfloat>

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/rows.cuh"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {
namespace {

// Computes the losses of a row and, unless it is null, the gradient of its logits. Memory traffic at least: both logits are
// read once and dlogits written once, 6 bytes an element in bf16. Rows that do not fit into registers (rows.cuh) are read
// three times.
template <class T>
struct SoftLosses {
  using C = Compute<T>;
  double *loss, *nll;
  T* dlogits;
  const T *logits, *teacher;
  const double* shares;  // null: all are 1
  const int32_t* targets;
  int64_t count, n;
  double weight, temperature, factor;

  template <class Shape>
  __device__ void run(int64_t row) const {
    constexpr int N = Shape::kWidth, kThreads = Shape::kThreads;
    const int64_t at = row * n, target = targets[row];
    const RowChunks<T, Shape> own(logits + at, n), other(teacher + at, n);
    // Finite, so that a logit of -infinity counts as 0; infinity and NaN show in the sums.
    constexpr C kLowest = std::is_same_v<C, double> ? C(-DBL_MAX) : C(-FLT_MAX);
    C top = kLowest, teacher_top = kLowest;
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      const Vec<C, N> x = converted<C>(own.at(i, j)), z = converted<C>(other.at(i, j));
#pragma unroll
      for (int k = 0; k < N; ++k) {
        top = x.v[k] > top ? x.v[k] : top;
        teacher_top = z.v[k] > teacher_top ? z.v[k] : teacher_top;
      }
    });
    top = block_max<kThreads>(top);
    teacher_top = block_max<kThreads>(teacher_top);

    const C inverse = static_cast<C>(1 / temperature);
    C hard = 0, soft = 0, taught = 0, cross = 0;
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      const Vec<C, N> x = converted<C>(own.at(i, j)), z = converted<C>(other.at(i, j));
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const C a = x.v[k] - top, b = z.v[k] - teacher_top, share = fast_exp(b * inverse);
        hard += fast_exp(a);
        soft += fast_exp(a * inverse);
        taught += share;
        cross += share > 0 ? share * (b - a) : C(0);  // 0 log 0 is 0
      }
    });
    hard = block_sum<kThreads>(hard);
    soft = block_sum<kThreads>(soft);
    taught = block_sum<kThreads>(taught);
    cross = block_sum<kThreads>(cross);
    if (threadIdx.x == 0) write_losses(row, target, top, hard, soft, taught, cross);
    if (!dlogits) return;

    const C share = is_none(target) ? C(0) : static_cast<C>(factor * (1 - weight));
    const C soft_share = static_cast<C>(factor * weight * temperature * share_of(row));
    const C by_hard = share / hard, by_soft = soft_share / soft, by_taught = soft_share / taught;
    for_chunks_within<Shape>(n, [&](int i, auto j) {
      const Vec<C, N> x = converted<C>(own.at(i, j)), z = converted<C>(other.at(i, j));
      Vec<C, N> dx;
#pragma unroll
      for (int k = 0; k < N; ++k) {
        const C a = x.v[k] - top;
        dx.v[k] = fast_exp(a) * by_hard +
                  (fast_exp(a * inverse) * by_soft - fast_exp((z.v[k] - teacher_top) * inverse) * by_taught) -
                  (j + k == target ? share : C(0));
      }
      store_vector(dlogits + at + j, converted<T>(dx));
    });
  }

  __device__ double share_of(int64_t row) const {
    return shares ? shares[row] : 1;
  }
  // Returns whether the token has no target, which only a tail's may lack.
  __device__ bool is_none(int64_t target) const {
    return shares && target == -1;
  }

  // A target outside the row gives NaN.
  __device__ void write_losses(int64_t row, int64_t target, C top, C hard, C soft, C taught, C cross) const {
    double own = 0;
    if (target >= 0 && target < n)
      own = std::log(static_cast<double>(hard)) -
            (static_cast<double>(static_cast<C>(logits[row * n + target])) - static_cast<double>(top));
    else if (!is_none(target))
      own = NAN;
    const double divergence = static_cast<double>(cross) / (static_cast<double>(taught) * temperature) -
                              std::log(static_cast<double>(taught)) + std::log(static_cast<double>(soft));
    nll[row] = own;
    loss[row] = (1 - weight) * own + weight * temperature * temperature * share_of(row) * divergence;
  }
};

}  // namespace

void soft_cross_entropy(const Tensor& loss, const Tensor& nll, const Tensor& dlogits, const Tensor& logits,
                        const Tensor& targets, const Tensor& teacher, const Tensor& shares,
                        const SoftTargetOptions& options, double factor) {
  dispatch_device_float(logits.dtype(), "soft_cross_entropy", [&]<class T>() {
    constexpr int N = kVector<T>;
    const SoftLosses<T> rows{loss.data<double>(),     nll.data<double>(),  data_or_null<T>(dlogits),
                             logits.data<T>(),        teacher.data<T>(),   data_or_null<const double>(shares),
                             targets.data<int32_t>(), targets.numel(),     logits.size(-1),
                             options.weight,          options.temperature, factor};
    const bool aligned = is_aligned(logits.raw()) && is_aligned(teacher.raw()) &&
                         (!dlogits.defined() || is_aligned(dlogits.raw()));
    if (rows.n % N == 0 && aligned)
      launch_rows<N>(rows, rows.n);
    else
      launch_rows<1>(rows, rows.n);
  });
}

}  // namespace tandem::cuda
