// dropout: random elements set to zero, the others scaled by 1 / (1 - p); plain, or with one mask for all
// time steps.
//
// A mask is never stored. It is a function of a key and of the element's index, through Philox: backward
// draws it again, any thread may draw any part of it, and every device draws the same bits. Srivastava et
// al., "Dropout" (JMLR 2014); Gal and Ghahramani, "A theoretically grounded application of dropout in
// recurrent neural networks" (NIPS 2016) for the mask that time steps share.
#pragma once
#include "core/macros.h"
#include "core/philox.h"
#include "core/tensor.h"

namespace tandem {

// Which mask: a run's seed, the training step, and the place in the model (each dropout of a model has its
// own site).
struct DropoutKey {
  uint64_t seed = 0;
  uint32_t step = 0;
  uint32_t site = 0;
};

// Elementwise, any shape. Element i of the row-major order has its own bit. With p = 0 it is x itself.
// Error: p outside [0, 1).
Tensor dropout(const Tensor& x, double p, DropoutKey key);

// x (T, B, D): one (B, D) mask for all T time steps. More generally, one mask over all axes but the leading
// one.
Tensor variational_dropout(const Tensor& x, double p, DropoutKey key);

// The mask itself, for operators that apply it inside: 0 or 1 / (1 - p). Carries no gradient.
Tensor dropout_mask(Shape shape, double p, DType dtype, Device device, DropoutKey key);

// The random word of element i; it is kept where word >= keep_threshold(p).
TANDEM_HD TANDEM_INLINE uint32_t dropout_word(DropoutKey key, int64_t i) {
  const PhiloxBlock block = philox(key.seed, static_cast<uint64_t>(i) / 4, key.step, key.site);
  const int64_t lane = i % 4;
  return lane < 2 ? (lane == 0 ? block.x : block.y) : (lane == 2 ? block.z : block.w);
}

namespace cpu {
// y = x * mask, where the mask has `period` elements and is repeated over x.
void dropout(const Tensor& y, const Tensor& x, int64_t period, double p, DropoutKey key);
void dropout_mask(const Tensor& mask, double p, DropoutKey key);
// Elements begin..begin+n-1 of a mask, 0 or 1 / (1 - p), for kernels that apply dropout to what they hold.
void dropout_mask_row(float* mask, int64_t begin, int64_t n, double p, DropoutKey key);
void dropout_mask_row(double* mask, int64_t begin, int64_t n, double p, DropoutKey key);
// y = x times those; y may be x.
void dropout_row(float* y, const float* x, int64_t begin, int64_t n, double p, DropoutKey key);
void dropout_row(double* y, const double* x, int64_t begin, int64_t n, double p, DropoutKey key);
}  // namespace cpu

namespace cuda {
void dropout(const Tensor& y, const Tensor& x, int64_t period, double p, DropoutKey key);
void dropout_mask(const Tensor& mask, double p, DropoutKey key);
}  // namespace cuda

}  // namespace tandem
