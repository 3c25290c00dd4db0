// Vectorised loops over one row of a block of attention.
#include "tandem/ops/attention_cpu/row_loops.h"

#include <limits>

#include "tandem/core/macros.h"
#include "tandem/core/math.h"

namespace tandem::cpu {
namespace {

template <class T>
TANDEM_INLINE RowSoftmax<T> softmax_body(T* s, int64_t n, T scale) {
  T largest = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t j = 0; j < n; ++j) largest = s[j] > largest ? s[j] : largest;
  const T shift = largest * scale;
  T total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t j = 0; j < n; ++j) {
    s[j] = fast_exp(s[j] * scale - shift);
    total += s[j];
  }
  return {total, shift};
}

template <class T>
TANDEM_INLINE void softmax_backward_body(T* s, T* dp, int64_t n, T scale, T lse, T delta) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    s[j] = fast_exp(s[j] * scale - lse);
    dp[j] = s[j] * (dp[j] - delta) * scale;
  }
}

// Returns how many of n keys are farther away than the farthest position: they share it with the key that is
// there.
TANDEM_INLINE int64_t beyond(int64_t n, int64_t positions) {
  return n > positions ? n - positions : 0;
}

template <class T>
TANDEM_INLINE void add_positions_body(T* s, const T* by_position, int64_t n, int64_t positions) {
  const int64_t far = beyond(n, positions);
  const T farthest = by_position[0];
#pragma omp simd
  for (int64_t j = 0; j < far; ++j) s[j] += farthest;
#pragma omp simd
  for (int64_t j = far; j < n; ++j) s[j] += by_position[j - far];
}

template <class T>
TANDEM_INLINE void sum_by_position_body(T* by_position, const T* ds, int64_t n, int64_t positions) {
  const int64_t far = beyond(n, positions);
  T farthest = 0;
#pragma omp simd reduction(+ : farthest)
  for (int64_t j = 0; j < far; ++j) farthest += ds[j];
#pragma omp simd
  for (int64_t j = far; j < n; ++j) by_position[j - far] = ds[j];
  by_position[0] += farthest;
}

template <class T>
TANDEM_INLINE void multiply_body(T* y, const T* x, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] *= x[j];
}

template <class T>
TANDEM_INLINE void scale_body(T* y, const T* x, int64_t n, T factor) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) y[j] = x[j] * factor;
}

template <class T>
TANDEM_INLINE T dot_body(const T* x, const T* y, int64_t n) {
  T dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t j = 0; j < n; ++j) dot += x[j] * y[j];
  return dot;
}

TANDEM_SIMD RowSoftmax<float> softmax_row_clones(float* s, int64_t n, float scale) {
  return softmax_body(s, n, scale);
}
TANDEM_SIMD RowSoftmax<double> softmax_row_clones(double* s, int64_t n, double scale) {
  return softmax_body(s, n, scale);
}

TANDEM_SIMD void softmax_backward_row_clones(float* s, float* dp, int64_t n, float scale, float lse,
                                             float delta) {
  softmax_backward_body(s, dp, n, scale, lse, delta);
}
TANDEM_SIMD void softmax_backward_row_clones(double* s, double* dp, int64_t n, double scale, double lse,
                                             double delta) {
  softmax_backward_body(s, dp, n, scale, lse, delta);
}

TANDEM_SIMD void add_positions_row_clones(float* s, const float* by_position, int64_t n, int64_t positions) {
  add_positions_body(s, by_position, n, positions);
}
TANDEM_SIMD void add_positions_row_clones(double* s, const double* by_position, int64_t n,
                                          int64_t positions) {
  add_positions_body(s, by_position, n, positions);
}

TANDEM_SIMD void sum_by_position_row_clones(float* by_position, const float* ds, int64_t n,
                                            int64_t positions) {
  sum_by_position_body(by_position, ds, n, positions);
}
TANDEM_SIMD void sum_by_position_row_clones(double* by_position, const double* ds, int64_t n,
                                            int64_t positions) {
  sum_by_position_body(by_position, ds, n, positions);
}

TANDEM_SIMD void multiply_row_clones(float* y, const float* x, int64_t n) {
  multiply_body(y, x, n);
}
TANDEM_SIMD void multiply_row_clones(double* y, const double* x, int64_t n) {
  multiply_body(y, x, n);
}

TANDEM_SIMD void scale_row_clones(float* y, const float* x, int64_t n, float factor) {
  scale_body(y, x, n, factor);
}
TANDEM_SIMD void scale_row_clones(double* y, const double* x, int64_t n, double factor) {
  scale_body(y, x, n, factor);
}

TANDEM_SIMD float dot_row_clones(const float* x, const float* y, int64_t n) {
  return dot_body(x, y, n);
}
TANDEM_SIMD double dot_row_clones(const double* x, const double* y, int64_t n) {
  return dot_body(x, y, n);
}

}  // namespace

RowSoftmax<float> softmax_row(float* s, int64_t n, float scale) {
  return softmax_row_clones(s, n, scale);
}
RowSoftmax<double> softmax_row(double* s, int64_t n, double scale) {
  return softmax_row_clones(s, n, scale);
}

void softmax_backward_row(float* s, float* dp, int64_t n, float scale, float lse, float delta) {
  softmax_backward_row_clones(s, dp, n, scale, lse, delta);
}
void softmax_backward_row(double* s, double* dp, int64_t n, double scale, double lse, double delta) {
  softmax_backward_row_clones(s, dp, n, scale, lse, delta);
}

void add_positions_row(float* s, const float* by_position, int64_t n, int64_t positions) {
  add_positions_row_clones(s, by_position, n, positions);
}
void add_positions_row(double* s, const double* by_position, int64_t n, int64_t positions) {
  add_positions_row_clones(s, by_position, n, positions);
}

void sum_by_position_row(float* by_position, const float* ds, int64_t n, int64_t positions) {
  sum_by_position_row_clones(by_position, ds, n, positions);
}
void sum_by_position_row(double* by_position, const double* ds, int64_t n, int64_t positions) {
  sum_by_position_row_clones(by_position, ds, n, positions);
}

void multiply_row(float* y, const float* x, int64_t n) {
  multiply_row_clones(y, x, n);
}
void multiply_row(double* y, const double* x, int64_t n) {
  multiply_row_clones(y, x, n);
}

void scale_row(float* y, const float* x, int64_t n, float factor) {
  scale_row_clones(y, x, n, factor);
}
void scale_row(double* y, const double* x, int64_t n, double factor) {
  scale_row_clones(y, x, n, factor);
}

float dot_row(const float* x, const float* y, int64_t n) {
  return dot_row_clones(x, y, n);
}
double dot_row(const double* x, const double* y, int64_t n) {
  return dot_row_clones(x, y, n);
}

}  // namespace tandem::cpu
