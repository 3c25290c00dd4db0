// dropout: dropout, variational_dropout (one mask for all time steps) and dropout_mask.
//
// An element is set to zero with probability p and multiplied by 1 / (1 - p) otherwise. A mask is never stored:
// it is a function of a key and of the element's index, computed with Philox. So backward draws it again, any
// thread may draw any part of it, and every device draws the same bits.
// Srivastava et al., "Dropout" (JMLR 2014); Gal and Ghahramani, "A theoretically grounded application of
// dropout in recurrent neural networks" (NIPS 2016) for the mask that time steps share.
#pragma once
#include "tandem/core/macros.h"
#include "tandem/core/philox.h"
#include "tandem/core/tensor.h"

namespace tandem {

// Names a mask.
struct DropoutKey {
  uint64_t seed = 0;  // of the run
  uint32_t step = 0;  // the training step
  uint32_t site = 0;  // the place in the model: each dropout of a model has its own
};

// Drops each element of x, of any shape, independently. Returns x itself if p = 0. Error: p is outside [0, 1).
Tensor dropout(const Tensor& x, double p, DropoutKey key);

// Drops elements of x (T, ...), such as (T, B, D), with one mask (...) for all T time steps. Error: as above;
// rank below 2.
Tensor variational_dropout(const Tensor& x, double p, DropoutKey key);

// Returns the mask itself, 0 or 1 / (1 - p), for operators that apply it inside. It carries no gradient.
Tensor dropout_mask(Shape shape, double p, DType dtype, Device device, DropoutKey key);

// Returns the random word of element i of the row-major order. The element is kept if word >=
// keep_threshold(p).
TANDEM_HD TANDEM_INLINE uint32_t dropout_word(DropoutKey key, int64_t i) {
  const PhiloxBlock block = philox(key.seed, static_cast<uint64_t>(i) / 4, key.step, key.site);
  const int64_t lane = i % 4;
  return lane < 2 ? (lane == 0 ? block.x : block.y) : (lane == 2 ? block.z : block.w);
}

namespace cpu {
// y = x * mask, with a mask of `period` elements repeated over x. y may be x.
void dropout(const Tensor& y, const Tensor& x, int64_t period, double p, DropoutKey key);
void dropout_mask(const Tensor& mask, double p, DropoutKey key);
// Writes the elements begin .. begin + n - 1 of a mask, for kernels that apply dropout to rows they hold.
void dropout_mask_row(float* mask, int64_t begin, int64_t n, double p, DropoutKey key);
void dropout_mask_row(double* mask, int64_t begin, int64_t n, double p, DropoutKey key);
// Multiplies x by the same elements of the mask. y may be x.
void dropout_row(float* y, const float* x, int64_t begin, int64_t n, double p, DropoutKey key);
void dropout_row(double* y, const double* x, int64_t begin, int64_t n, double p, DropoutKey key);
}  // namespace cpu

namespace cuda {
void dropout(const Tensor& y, const Tensor& x, int64_t period, double p, DropoutKey key);
void dropout_mask(const Tensor& mask, double p, DropoutKey key);
}  // namespace cuda

}  // namespace tandem
