// Vectorised loops over one row of a block of attention. Internal to ops/attention_cpu/blocks.cpp.
#pragma once
#include <cstdint>

namespace tandem::cpu {

template <class T>
struct RowSoftmax {
  T total, shift;  // the log of the sum of exponentials is shift + log(total)
};

// s = exp(scale s - shift), not yet divided by the total: the caller divides the outputs, which are fewer.
RowSoftmax<float> softmax_row(float* s, int64_t n, float scale);
RowSoftmax<double> softmax_row(double* s, int64_t n, double scale);

// From scores s and dP in dp:  s = P = exp(scale s - lse),  dp = dS = P (dP - delta) scale.
void softmax_backward_row(float* s, float* dp, int64_t n, float scale, float lse, float delta);
void softmax_backward_row(double* s, double* dp, int64_t n, double scale, double lse, double delta);

// Key i of n has distance n - 1 - i, capped at positions - 1. by_position holds one number per distance that
// occurs, the farthest first. s[i] += by_position[entry of the distance of key i]
void add_positions_row(float* s, const float* by_position, int64_t n, int64_t positions);
void add_positions_row(double* s, const double* by_position, int64_t n, int64_t positions);
// by_position[entry] = the sum of ds over the keys of its distance
void sum_by_position_row(float* by_position, const float* ds, int64_t n, int64_t positions);
void sum_by_position_row(double* by_position, const double* ds, int64_t n, int64_t positions);

// y *= x
void multiply_row(float* y, const float* x, int64_t n);
void multiply_row(double* y, const double* x, int64_t n);

// y = factor x
void scale_row(float* y, const float* x, int64_t n, float factor);
void scale_row(double* y, const double* x, int64_t n, double factor);

// Returns x . y.
float dot_row(const float* x, const float* y, int64_t n);
double dot_row(const double* x, const double* y, int64_t n);

}  // namespace tandem::cpu
