// causal_attention and attend_cached: checks, the tape entry, and the CPU kernel of attend_cached. The block
// kernels of causal_attention are in ops/attention_cpu/blocks.cpp.
#include "tandem/ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/math.h"
#include "tandem/core/parallel.h"
#include "tandem/core/streaming.h"
#include "tandem/core/tap.h"
#include "tandem/ops/attention_cpu/weights.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

constexpr int64_t kKeysPerTask = 64;

// scores[row] = q . keys[row]. The keys lie `stride` elements apart, and the value of a key lies `to_value`
// elements after it. Four keys are read at once; their values and the next four keys are prefetched
// meanwhile.
template <class T, class S>
TANDEM_INLINE void score_body(T* scores, const T* q, const S* keys, int64_t rows, int64_t stride,
                              int64_t to_value, int64_t width) {
  constexpr int64_t kStrip = 256 / sizeof(S);
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4, keys += 4 * stride) {
    T a = 0, b = 0, c = 0, d = 0;
    for (int64_t begin = 0; begin < width; begin += kStrip) {
      const int64_t end = std::min(width, begin + kStrip);
      for (int64_t ahead = 0; ahead < 4; ++ahead) {
        prefetch_row(keys + (ahead + 4) * stride + begin, end - begin);
        prefetch_row(keys + ahead * stride + to_value + begin, end - begin);
      }
      const S *first = keys, *second = first + stride, *third = second + stride, *fourth = third + stride;
#pragma omp simd reduction(+ : a, b, c, d)
      for (int64_t i = begin; i < end; ++i) {
        a += q[i] * static_cast<T>(first[i]);
        b += q[i] * static_cast<T>(second[i]);
        c += q[i] * static_cast<T>(third[i]);
        d += q[i] * static_cast<T>(fourth[i]);
      }
    }
    scores[row] = a;
    scores[row + 1] = b;
    scores[row + 2] = c;
    scores[row + 3] = d;
  }
  for (; row < rows; ++row, keys += stride) {
    T sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; ++i) sum += q[i] * static_cast<T>(keys[i]);
    scores[row] = sum;
  }
}
TANDEM_SIMD void score_rows(float* scores, const float* q, const float* keys, int64_t rows, int64_t stride,
                            int64_t to_value, int64_t width) {
  score_body(scores, q, keys, rows, stride, to_value, width);
}
TANDEM_SIMD void score_rows(float* scores, const float* q, const bf16* keys, int64_t rows, int64_t stride,
                            int64_t to_value, int64_t width) {
  score_body(scores, q, keys, rows, stride, to_value, width);
}
TANDEM_SIMD void score_rows(double* scores, const double* q, const double* keys, int64_t rows, int64_t stride,
                            int64_t to_value, int64_t width) {
  score_body(scores, q, keys, rows, stride, to_value, width);
}

// The softmax over some of the keys, not yet divided by its total: the weight of a key is exp(score -
// largest), and `total` is the sum of these weights.
template <class T>
struct PartialSoftmax {
  T largest, total;
};

// Returns the partial softmax of `rows` scores, times scale, and sets y to the sum of the values with its
// weights. Overwrites the scores. Four rows of values are read at once.
template <class T, class S>
TANDEM_INLINE PartialSoftmax<T> accumulate_values_body(T* y, T* scores, const S* values, int64_t rows,
                                                       int64_t stride, int64_t width, T scale) {
  T largest = -std::numeric_limits<T>::infinity(), total = 0;
  for (int64_t row = 0; row < rows; ++row) {
    scores[row] *= scale;
    largest = scores[row] > largest ? scores[row] : largest;
  }
#pragma omp simd reduction(+ : total)
  for (int64_t row = 0; row < rows; ++row) {
    scores[row] = fast_exp(scores[row] - largest);
    total += scores[row];
  }
  for (int64_t i = 0; i < width; ++i) y[i] = 0;
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4, values += 4 * stride) {
    const S *first = values, *second = first + stride, *third = second + stride, *fourth = third + stride;
    const T weights[] = {scores[row], scores[row + 1], scores[row + 2], scores[row + 3]};
#pragma omp simd
    for (int64_t i = 0; i < width; ++i)
      y[i] += (weights[0] * static_cast<T>(first[i]) + weights[1] * static_cast<T>(second[i])) +
              (weights[2] * static_cast<T>(third[i]) + weights[3] * static_cast<T>(fourth[i]));
  }
  for (; row < rows; ++row, values += stride) {
    const T weight = scores[row];
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) y[i] += weight * static_cast<T>(values[i]);
  }
  return {largest, total};
}

TANDEM_SIMD PartialSoftmax<float> accumulate_values(float* y, float* scores, const float* values,
                                                    int64_t rows, int64_t stride, int64_t width,
                                                    float scale) {
  return accumulate_values_body(y, scores, values, rows, stride, width, scale);
}
TANDEM_SIMD PartialSoftmax<float> accumulate_values(float* y, float* scores, const bf16* values, int64_t rows,
                                                    int64_t stride, int64_t width, float scale) {
  return accumulate_values_body(y, scores, values, rows, stride, width, scale);
}
TANDEM_SIMD PartialSoftmax<double> accumulate_values(double* y, double* scores, const double* values,
                                                     int64_t rows, int64_t stride, int64_t width,
                                                     double scale) {
  return accumulate_values_body(y, scores, values, rows, stride, width, scale);
}

// y = the attention of a query, combined from `count` partial softmaxes and their sums of values (count,
// width), in this order.
template <class T>
TANDEM_INLINE void combine_partials_body(T* y, const T* sums, const PartialSoftmax<T>* partials,
                                         int64_t count, int64_t width) {
  T largest = -std::numeric_limits<T>::infinity(), total = 0;
  for (int64_t i = 0; i < count; ++i) largest = partials[i].largest > largest ? partials[i].largest : largest;
  for (int64_t i = 0; i < count; ++i) total += partials[i].total * fast_exp(partials[i].largest - largest);
  for (int64_t j = 0; j < width; ++j) y[j] = 0;
  for (int64_t i = 0; i < count; ++i, sums += width) {
    const T weight = fast_exp(partials[i].largest - largest) / total;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) y[j] += weight * sums[j];
  }
}
TANDEM_SIMD void combine_partials(float* y, const float* sums, const PartialSoftmax<float>* partials,
                                  int64_t count, int64_t width) {
  combine_partials_body(y, sums, partials, count, width);
}
TANDEM_SIMD void combine_partials(double* y, const double* sums, const PartialSoftmax<double>* partials,
                                  int64_t count, int64_t width) {
  combine_partials_body(y, sums, partials, count, width);
}

// A task takes one query (batch item and head) and some of its keys, so that all threads read the cache even
// of a single sequence.
template <class T, class S>
void attend_rows(T* y, const T* q, const S* kv, int64_t batch, int64_t width, int64_t valid, int64_t heads) {
  const int64_t head = width / heads, stride = batch * 2 * width, queries = batch * heads;
  const int64_t blocks = (valid + kKeysPerTask - 1) / kKeysPerTask;
  const T scale = T(1) / std::sqrt(static_cast<T>(head));
  const Tensor sums({queries, blocks, head}, dtype_of<T>());
  T* const all_sums = sums.data<T>();
  std::vector<PartialSoftmax<T>> partials(static_cast<size_t>(queries * blocks));
  const bool parallel = batch * valid * width > kParallelGrain;
  cpu::parallel_for(queries * blocks, parallel, [&](int64_t task) {
    const int64_t query = task / blocks, begin = task % blocks * kKeysPerTask;
    const int64_t b = query / heads, offset = query % heads * head;
    const int64_t rows = std::min(kKeysPerTask, valid - begin);
    const S* const keys = kv + begin * stride + b * 2 * width + offset;
    T scores[kKeysPerTask];
    score_rows(scores, q + b * width + offset, keys, rows, stride, width, head);
    partials[task] =
        accumulate_values(all_sums + task * head, scores, keys + width, rows, stride, head, scale);
  });
  cpu::parallel_for(queries, parallel, [&](int64_t query) {
    combine_partials(y + query * head, all_sums + query * blocks * head, partials.data() + query * blocks,
                     blocks, head);
  });
}

// Returns the dtype that kv must have: that of q, but on a CPU kv may be bf16 with q in f32, if accepts_bf16.
DType kv_dtype_for(const Tensor& q, const Tensor& kv, bool accepts_bf16) {
  const bool is_bf16 =
      accepts_bf16 && kv.dtype() == DType::bf16 && q.dtype() == DType::f32 && q.device().is_cpu();
  return is_bf16 ? DType::bf16 : q.dtype();
}

// Checks that the last two axes of q, (B, D), fit kv, and that `heads` divides D.
void check_shapes(const char* what, const char* kv_name, const Tensor& q, const Tensor& kv, DType kv_dtype,
                  int64_t heads) {
  TANDEM_CHECK(kv.dtype() == kv_dtype && q.device() == kv.device(),
               "{}: q is {}, {} is {}; they must have one floating dtype and one device", what, q.summary(),
               kv_name, kv.summary());
  TANDEM_CHECK(kv.rank() == 3 && kv.size(1) == q.size(-2) && kv.size(2) == 2 * q.size(-1),
               "{}: q is {}, {} is {}; it must be (rows, {}, {}): keys and values side by side", what,
               q.shape().str(), kv_name, kv.shape().str(), q.size(-2), 2 * q.size(-1));
  TANDEM_CHECK(heads >= 1 && q.size(-1) % heads == 0, "{}: {} heads do not divide the width {} of q", what,
               heads, q.size(-1));
}

}  // namespace

namespace cpu {

void attend_cached(const Tensor& y, const Tensor& q, const Tensor& kv_cache, int64_t valid, int64_t heads) {
  if (kv_cache.dtype() == DType::bf16)
    return attend_rows(y.data<float>(), q.data<float>(), kv_cache.data<bf16>(), q.size(0), q.size(1), valid,
                       heads);
  dispatch_float(q.dtype(), "attend_cached", [&]<class T>() {
    attend_rows(y.data<T>(), q.data<T>(), kv_cache.data<T>(), q.size(0), q.size(1), valid, heads);
  });
}

}  // namespace cpu

void check_attention(const char* what, const Tensor& q, const Tensor& kv, DType kv_dtype,
                     const AttentionOptions& options) {
  check_floating(what, {{"q", q}});
  check_defined(what, {{"kv", kv}});
  TANDEM_CHECK(q.rank() == 3, "{}: q is {}; it must be (T, B, D)", what, q.summary());
  check_shapes(what, "kv", q, kv, kv_dtype, options.heads);
  TANDEM_CHECK(
      kv.size(0) >= q.size(0),
      "{}: {} keys in kv for {} queries in q; kv must hold a row for every query, after those of the memory",
      what, kv.size(0), q.size(0));
  TANDEM_CHECK(options.window >= 0, "{}: window {} must not be negative; 0 means no limit", what,
               options.window);
  TANDEM_CHECK(options.dropout >= 0 && options.dropout < 1, "{}: dropout {} must lie in [0, 1)", what,
               options.dropout);
}

namespace {
thread_local AttentionTuning tuning_of_thread;
}

AttentionScope::AttentionScope(const AttentionTuning& tuning) : outer_(tuning_of_thread) {
  TANDEM_CHECK(tuning.waves > 0 && tuning.waves <= 1000, "attention: waves {} must lie in (0, 1000]",
               tuning.waves);
  tuning_of_thread = tuning;
}
AttentionScope::~AttentionScope() {
  tuning_of_thread = outer_;
}

const AttentionTuning& attention_tuning() {
  return tuning_of_thread;
}

Tensor causal_attention(const Tensor& q, const Tensor& kv, const AttentionOptions& options) {
  const AttentionKernel kernel{options, matmul_precision(), attention_tuning()};
  check_defined("causal_attention", {{"q", q}, {"kv", kv}});
  check_attention("causal_attention", q, kv, kv_dtype_for(q, kv, kernel.precision == MatmulPrecision::bf16),
                  options);
  Tensor y = empty_like(q);
  Tensor lse({q.size(1), options.heads, q.size(0)}, parameter_dtype(q.dtype()), q.device());
  TANDEM_DISPATCH(q.device(), attention_forward(y, lse, q, kv, {}, kernel));
  if (Tap::is_heard()) Tap::offer("causal_attention.weights", attention_weights(q, kv, {}, options));
  return record("causal_attention", y, {q, kv}, [q, kv, y, lse, kernel](const Tensor& dy) -> Grads {
    Tensor dq = empty_like(q), dkv = empty_like(kv);
    TANDEM_DISPATCH(q.device(), attention_backward(dq, dkv, {}, dy, q, kv, {}, y, lse, kernel));
    return {dq, dkv};
  });
}

Tensor attend_cached(const Tensor& q, const Tensor& kv_cache, int64_t valid, int64_t heads) {
  check_floating("attend_cached", {{"q", q}});
  check_defined("attend_cached", {{"kv_cache", kv_cache}});
  TANDEM_CHECK(q.rank() == 2, "attend_cached: q is {}; it must be (B, D)", q.summary());
  check_shapes("attend_cached", "kv_cache", q, kv_cache, kv_dtype_for(q, kv_cache, true), heads);
  TANDEM_CHECK(valid >= 1 && valid <= kv_cache.size(0),
               "attend_cached: valid is {}, kv_cache has {} rows; it must be 1 to {}", valid,
               kv_cache.size(0), kv_cache.size(0));
  Tensor y = empty_like(q);
  TANDEM_DISPATCH(q.device(), attend_cached(y, q, kv_cache, valid, heads));
  if (Tap::is_heard())
    Tap::offer("attend_cached.weights",
               attention_weights(q.detach().view_as({1, q.size(0), q.size(1)}),
                                 kv_cache.detach().view_rows(0, valid), {}, {.heads = heads}));
  return y;
}

}  // namespace tandem
