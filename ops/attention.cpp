// causal_attention and attend_cached: checks, the tape entry, and the kernel that decodes. The block kernels
// of training are in attention_blocks.cpp.
#include "ops/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/tape.h"
#include "core/check.h"
#include "core/dispatch.h"
#include "core/macros.h"
#include "core/math.h"
#include "core/parallel.h"
#include "core/streaming.h"
#include "ops/support/weight_cache.h"

namespace tandem {
namespace {

constexpr int64_t kRowsOfTask = 64;  // keys that one task looks at

// scores = q keys, of `rows` keys that lie `stride` elements apart, each with its value `to_value` behind it.
// Four rows are read side by side; their values and the next four rows are asked for between the arithmetic.
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

// What a task found: y is the sum of its values, each weighed by exp(score - largest), and `total` of those
// weights.
template <class T>
struct Part {
  T largest, total;
};

// Overwrites the scores. Four rows of values are read side by side.
template <class T, class S>
TANDEM_INLINE Part<T> weigh_body(T* y, T* scores, const S* values, int64_t rows, int64_t stride,
                                 int64_t width, T scale) {
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

TANDEM_SIMD Part<float> weigh(float* y, float* scores, const float* values, int64_t rows, int64_t stride,
                              int64_t width, float scale) {
  return weigh_body(y, scores, values, rows, stride, width, scale);
}
TANDEM_SIMD Part<float> weigh(float* y, float* scores, const bf16* values, int64_t rows, int64_t stride,
                              int64_t width, float scale) {
  return weigh_body(y, scores, values, rows, stride, width, scale);
}
TANDEM_SIMD Part<double> weigh(double* y, double* scores, const double* values, int64_t rows, int64_t stride,
                               int64_t width, double scale) {
  return weigh_body(y, scores, values, rows, stride, width, scale);
}

// y = the parts of a query together, in their order.
template <class T>
TANDEM_INLINE void join_body(T* y, const T* sums, const Part<T>* parts, int64_t count, int64_t width) {
  T largest = -std::numeric_limits<T>::infinity(), total = 0;
  for (int64_t i = 0; i < count; ++i) largest = parts[i].largest > largest ? parts[i].largest : largest;
  for (int64_t i = 0; i < count; ++i) total += parts[i].total * fast_exp(parts[i].largest - largest);
  for (int64_t j = 0; j < width; ++j) y[j] = 0;
  for (int64_t i = 0; i < count; ++i, sums += width) {
    const T weight = fast_exp(parts[i].largest - largest) / total;
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) y[j] += weight * sums[j];
  }
}
TANDEM_SIMD void join(float* y, const float* sums, const Part<float>* parts, int64_t count, int64_t width) {
  join_body(y, sums, parts, count, width);
}
TANDEM_SIMD void join(double* y, const double* sums, const Part<double>* parts, int64_t count,
                      int64_t width) {
  join_body(y, sums, parts, count, width);
}

// The keys of a query are cut into blocks too, so that all threads read the cache of a single sequence.
template <class T, class S>
void attend_rows(T* y, const T* q, const S* kv, int64_t batch, int64_t width, int64_t valid, int64_t heads) {
  const int64_t head = width / heads, stride = batch * 2 * width, queries = batch * heads;
  const int64_t blocks = (valid + kRowsOfTask - 1) / kRowsOfTask;
  const T scale = T(1) / std::sqrt(static_cast<T>(head));
  const Tensor sums({queries, blocks, head}, dtype_of<T>());
  T* const all_sums = sums.data<T>();
  std::vector<Part<T>> parts(static_cast<size_t>(queries * blocks));
#pragma omp parallel if (batch * valid * width > kParallelGrain)
  {
#pragma omp for schedule(dynamic)
    for (int64_t task = 0; task < queries * blocks; ++task) {
      const int64_t query = task / blocks, begin = task % blocks * kRowsOfTask;
      const int64_t b = query / heads, offset = query % heads * head;
      const int64_t rows = std::min(kRowsOfTask, valid - begin);
      const S* const keys = kv + begin * stride + b * 2 * width + offset;
      T scores[kRowsOfTask];
      score_rows(scores, q + b * width + offset, keys, rows, stride, width, head);
      parts[task] = weigh(all_sums + task * head, scores, keys + width, rows, stride, head, scale);
    }
#pragma omp for schedule(static)
    for (int64_t query = 0; query < queries; ++query)
      join(y + query * head, all_sums + query * blocks * head, parts.data() + query * blocks, blocks, head);
  }
}

// Of keys and values, where bf16 beside f32 may be: a CPU's kernels take it.
DType bf16_or_same(const Tensor& q, const Tensor& kv, bool may_be_bf16) {
  const bool half =
      may_be_bf16 && kv.dtype() == DType::bf16 && q.dtype() == DType::f32 && q.device().is_cpu();
  return half ? DType::bf16 : q.dtype();
}

// Checks that q's last two axes, (B, D), fit kv's, and that heads fit D.
void check_shapes(const char* what, const Tensor& q, const Tensor& kv, DType kv_dtype, int64_t heads) {
  CHECK(is_floating(q.dtype()) && kv.dtype() == kv_dtype && q.device() == kv.device(),
        "{}: q is {}, keys and values are {}; they must have one floating dtype and one device", what,
        q.str(), kv.str());
  CHECK(kv.rank() == 3 && kv.size(1) == q.size(-2) && kv.size(2) == 2 * q.size(-1),
        "{}: q is {}, keys and values are {}; they must be (rows, {}, {}): keys and values side by side",
        what, q.shape().str(), kv.shape().str(), q.size(-2), 2 * q.size(-1));
  CHECK(heads >= 1 && q.size(-1) % heads == 0, "{}: {} heads do not divide the width {} of q", what, heads,
        q.size(-1));
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
  CHECK(q.rank() == 3, "{}: q is {}; it must be (T, B, D)", what, q.str());
  check_shapes(what, q, kv, kv_dtype, options.heads);
  CHECK(kv.size(0) >= q.size(0),
        "{}: {} keys for {} queries; kv must hold a row for every query, after those of the memory", what,
        kv.size(0), q.size(0));
  CHECK(options.window >= 0, "{}: window {} must not be negative; 0 means no limit", what, options.window);
  CHECK(options.dropout >= 0 && options.dropout < 1, "{}: dropout {} must lie in [0, 1)", what,
        options.dropout);
}

Tensor causal_attention(const Tensor& q, const Tensor& kv, const AttentionOptions& options) {
  const AttentionKernel kernel{options, matmul_precision()};
  check_attention("causal_attention", q, kv, bf16_or_same(q, kv, kernel.precision == MatmulPrecision::bf16),
                  options);
  Tensor y = empty_like(q);
  Tensor lse({q.size(1), options.heads, q.size(0)}, parameter_dtype(q.dtype()), q.device());
  DISPATCH(q.device(), attention_forward(y, lse, q, kv, {}, kernel));
  return record("causal_attention", y, {q, kv}, [q, kv, y, lse, kernel](const Tensor& dy) -> Grads {
    Tensor dq = empty_like(q), dkv = empty_like(kv);
    DISPATCH(q.device(), attention_backward(dq, dkv, {}, dy, q, kv, {}, y, lse, kernel));
    return {dq, dkv};
  });
}

Tensor attend_cached(const Tensor& q, const Tensor& kv_cache, int64_t valid, int64_t heads) {
  CHECK(q.rank() == 2, "attend_cached: q is {}; it must be (B, D)", q.str());
  check_shapes("attend_cached", q, kv_cache, bf16_or_same(q, kv_cache, true), heads);
  CHECK(valid >= 1 && valid <= kv_cache.size(0),
        "attend_cached: {} valid rows of a cache of {}; they must be 1 to {}", valid, kv_cache.size(0),
        kv_cache.size(0));
  Tensor y = empty_like(q);
  DISPATCH(q.device(), attend_cached(y, q, kv_cache, valid, heads));
  return y;
}

}  // namespace tandem
