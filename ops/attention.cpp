// causal_attention and attend_cached: checks, the tape entry, and the kernel that decodes. The block kernels
// of training are in attention_blocks.cpp.
#include "ops/attention.h"

#include <cmath>
#include <limits>

#include "autograd/tape.h"
#include "core/check.h"
#include "core/math.h"
#include "core/parallel.h"
#include "ops/weights.h"

namespace tandem {
namespace {

// Scores of one query against `rows` keys that lie `stride` elements apart; returns the largest.
template <class T>
TANDEM_INLINE T scores_body(T* scores, const T* q, const T* keys, int64_t rows, int64_t stride, int64_t width,
                            T scale) {
  T largest = -std::numeric_limits<T>::infinity();
  for (int64_t row = 0; row < rows; ++row, keys += stride) {
    T dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < width; ++i) dot += q[i] * keys[i];
    scores[row] = dot * scale;
    largest = scores[row] > largest ? scores[row] : largest;
  }
  return largest;
}

// y = softmax(scores) values; overwrites the scores.
template <class T>
TANDEM_INLINE void weigh_body(T* y, T* scores, const T* values, int64_t rows, int64_t stride, int64_t width,
                              T largest) {
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t row = 0; row < rows; ++row) {
    scores[row] = fast_exp(scores[row] - largest);
    total += scores[row];
  }
  for (int64_t i = 0; i < width; ++i) y[i] = 0;
  for (int64_t row = 0; row < rows; ++row, values += stride) {
    const T weight = scores[row] / total;
#pragma omp simd
    for (int64_t i = 0; i < width; ++i) y[i] += weight * values[i];
  }
}

TANDEM_SIMD void attend_row(float* y, float* scores, const float* q, const float* kv, int64_t rows,
                            int64_t stride, int64_t width, int64_t to_values, float scale) {
  const float largest = scores_body(scores, q, kv, rows, stride, width, scale);
  weigh_body(y, scores, kv + to_values, rows, stride, width, largest);
}
TANDEM_SIMD void attend_row(double* y, double* scores, const double* q, const double* kv, int64_t rows,
                            int64_t stride, int64_t width, int64_t to_values, double scale) {
  const double largest = scores_body(scores, q, kv, rows, stride, width, scale);
  weigh_body(y, scores, kv + to_values, rows, stride, width, largest);
}

template <class T>
void attend_rows(T* y, T* scores, const T* q, const T* kv, int64_t batch, int64_t width, int64_t valid,
                 int64_t heads) {
  const int64_t head = width / heads;
  const T scale = T(1) / std::sqrt(static_cast<T>(head));
#pragma omp parallel for schedule(static) if (batch * valid * width > kParallelGrain)
  for (int64_t i = 0; i < batch * heads; ++i) {
    const int64_t b = i / heads, offset = i % heads * head;
    attend_row(y + b * width + offset, scores + i * valid, q + b * width + offset,
               kv + b * 2 * width + offset, valid, batch * 2 * width, head, width, scale);
  }
}

// Checks that q's last two axes, (B, D), fit kv's, and that heads fit D.
void check_shapes(const char* what, const Tensor& q, const Tensor& kv, int64_t heads) {
  CHECK(is_floating(q.dtype()) && q.dtype() == kv.dtype() && q.device() == kv.device(),
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
  const Tensor scores({q.size(0), heads, valid}, q.dtype());
  FOR_FLOAT(q.dtype(), "attend_cached", T,
            attend_rows(y.data<T>(), scores.data<T>(), q.data<T>(), kv_cache.data<T>(), q.size(0), q.size(1),
                        valid, heads));
}

}  // namespace cpu

void check_attention(const char* what, const Tensor& q, const Tensor& kv, const AttentionOptions& options) {
  CHECK(q.rank() == 3, "{}: q is {}; it must be (T, B, D)", what, q.str());
  check_shapes(what, q, kv, options.heads);
  CHECK(kv.size(0) >= q.size(0),
        "{}: {} keys for {} queries; kv must hold a row for every query, after those of the memory", what,
        kv.size(0), q.size(0));
  CHECK(options.window >= 0, "{}: window {} must not be negative; 0 means no limit", what, options.window);
  CHECK(options.dropout >= 0 && options.dropout < 1, "{}: dropout {} must lie in [0, 1)", what,
        options.dropout);
}

Tensor causal_attention(const Tensor& q, const Tensor& kv, const AttentionOptions& options) {
  check_attention("causal_attention", q, kv, options);
  const AttentionKernel kernel{options, matmul_precision()};
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
  check_shapes("attend_cached", q, kv_cache, heads);
  CHECK(valid >= 1 && valid <= kv_cache.size(0),
        "attend_cached: {} valid rows of a cache of {}; they must be 1 to {}", valid, kv_cache.size(0),
        kv_cache.size(0));
  Tensor y = empty_like(q);
  DISPATCH(q.device(), attend_cached(y, q, kv_cache, valid, heads));
  return y;
}

}  // namespace tandem
