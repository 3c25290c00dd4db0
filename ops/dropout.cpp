// dropout on the CPU: masks are drawn in pieces that fit the cache and used at once.
#include "tandem/ops/dropout.h"

#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"

namespace tandem {
namespace {

constexpr int64_t kPiece = 1024;  // mask elements drawn at a time; a multiple of 4

// Draws the words of `blocks` Philox blocks, in the order of the elements.
TANDEM_SIMD void draw_words(uint32_t* words, uint64_t first_block, int64_t blocks, DropoutKey key) {
#pragma omp simd
  for (int64_t b = 0; b < blocks; ++b) {
    const PhiloxBlock block = philox(key.seed, first_block + static_cast<uint64_t>(b), key.step, key.site);
    words[4 * b] = block.x;
    words[4 * b + 1] = block.y;
    words[4 * b + 2] = block.z;
    words[4 * b + 3] = block.w;
  }
}

template <class T>
TANDEM_INLINE void mask_body(T* mask, const uint32_t* words, uint32_t threshold, T kept, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) mask[i] = words[i] >= threshold ? kept : T(0);
}
TANDEM_SIMD void mask_from(float* mask, const uint32_t* words, uint32_t threshold, float kept, int64_t n) {
  mask_body(mask, words, threshold, kept, n);
}
TANDEM_SIMD void mask_from(double* mask, const uint32_t* words, uint32_t threshold, double kept, int64_t n) {
  mask_body(mask, words, threshold, kept, n);
}

template <class T>
TANDEM_INLINE void apply_body(T* y, const T* x, const uint32_t* words, uint32_t threshold, T kept,
                              int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = words[i] >= threshold ? x[i] * kept : T(0);
}
TANDEM_SIMD void apply(float* y, const float* x, const uint32_t* words, uint32_t threshold, float kept,
                       int64_t n) {
  apply_body(y, x, words, threshold, kept, n);
}
TANDEM_SIMD void apply(double* y, const double* x, const uint32_t* words, uint32_t threshold, double kept,
                       int64_t n) {
  apply_body(y, x, words, threshold, kept, n);
}

// Calls f(offset, words, count) for the elements begin .. begin + n - 1 in pieces; `offset` counts from
// `begin`.
template <class F>
void for_words(int64_t begin, int64_t n, DropoutKey key, const F& f) {
  uint32_t words[kPiece + 4];
  for (int64_t done = 0; done < n;) {
    const int64_t index = begin + done, lane = index % 4;
    const int64_t count = std::min(kPiece, n - done);
    draw_words(words, static_cast<uint64_t>(index) / 4, (lane + count + 3) / 4, key);
    f(done, words + lane, count);
    done += count;
  }
}

template <class T>
void mask_row(T* mask, int64_t begin, int64_t n, double p, DropoutKey key) {
  const uint32_t threshold = keep_threshold(p);
  const T kept = static_cast<T>(1 / (1 - p));
  for_words(begin, n, key, [mask, threshold, kept](int64_t offset, const uint32_t* words, int64_t count) {
    mask_from(mask + offset, words, threshold, kept, count);
  });
}

template <class T>
void drop_row(T* y, const T* x, int64_t begin, int64_t n, double p, DropoutKey key) {
  const uint32_t threshold = keep_threshold(p);
  const T kept = static_cast<T>(1 / (1 - p));
  for_words(begin, n, key, [y, x, threshold, kept](int64_t offset, const uint32_t* words, int64_t count) {
    apply(y + offset, x + offset, words, threshold, kept, count);
  });
}

template <class T>
void dropout_of(T* y, const T* x, int64_t period, int64_t repeats, double p, DropoutKey key) {
  const uint32_t threshold = keep_threshold(p);
  const T kept = static_cast<T>(1 / (1 - p));
  // A piece of the mask is drawn once and applied to every repetition.
  cpu::for_blocks(period, kPiece, repeats,
                  [y, x, period, repeats, threshold, kept, key](int64_t begin, int64_t end) {
                    const auto use = [y, x, period, repeats, threshold, kept, begin](
                                         int64_t offset, const uint32_t* words, int64_t count) {
                      for (int64_t r = 0; r < repeats; ++r) {
                        const int64_t at = r * period + begin + offset;
                        apply(y + at, x + at, words, threshold, kept, count);
                      }
                    };
                    for_words(begin, end - begin, key, use);
                  });
}

void check_probability(const char* name, double p) {
  TANDEM_CHECK(p >= 0 && p < 1, "{}: p is {}; the probability of dropping must lie in [0, 1)", name, p);
}

// y = m x, where m is 0 or 1 / (1 - p):  dx = m dy.
Tensor drop(const char* name, const Tensor& x, int64_t period, double p, DropoutKey key) {
  check_probability(name, p);
  if (p == 0) return x;
  check_floating(name, {{"x", x}});
  Tensor y = empty_like(x);
  TANDEM_DISPATCH(x.device(), dropout(y, x, period, p, key));
  return record(name, y, {x}, [period, p, key](const Tensor& dy) -> Grads {
    Tensor dx = empty_like(dy);
    TANDEM_DISPATCH(dy.device(), dropout(dx, dy, period, p, key));
    return {dx};
  });
}

}  // namespace

namespace cpu {

void dropout(const Tensor& y, const Tensor& x, int64_t period, double p, DropoutKey key) {
  const int64_t repeats = period > 0 ? x.numel() / period : 0;
  dispatch_float(x.dtype(), "dropout",
                 [&]<class T>() { dropout_of(y.data<T>(), x.data<T>(), period, repeats, p, key); });
}

void dropout_mask(const Tensor& mask, double p, DropoutKey key) {
  dispatch_float(mask.dtype(), "dropout_mask", [&]<class T>() {
    T* out = mask.data<T>();
    for_elements(mask.numel(),
                 [out, p, key](int64_t i, int64_t end) { mask_row(out + i, i, end - i, p, key); });
  });
}

void dropout_mask_row(float* mask, int64_t begin, int64_t n, double p, DropoutKey key) {
  mask_row(mask, begin, n, p, key);
}
void dropout_mask_row(double* mask, int64_t begin, int64_t n, double p, DropoutKey key) {
  mask_row(mask, begin, n, p, key);
}

void dropout_row(float* y, const float* x, int64_t begin, int64_t n, double p, DropoutKey key) {
  drop_row(y, x, begin, n, p, key);
}
void dropout_row(double* y, const double* x, int64_t begin, int64_t n, double p, DropoutKey key) {
  drop_row(y, x, begin, n, p, key);
}

}  // namespace cpu

Tensor dropout(const Tensor& x, double p, DropoutKey key) {
  check_defined("dropout", {{"x", x}});
  return drop("dropout", x, x.numel(), p, key);
}

Tensor variational_dropout(const Tensor& x, double p, DropoutKey key) {
  check_defined("variational_dropout", {{"x", x}});
  TANDEM_CHECK(
      x.rank() >= 2,
      "variational_dropout: x is {}, without a time axis before others; it must be (T, ...), such as (T, B, D)",
      x.summary());
  return drop("variational_dropout", x, x.shape().tail().numel(), p, key);
}

Tensor dropout_mask(Shape shape, double p, DType dtype, Device device, DropoutKey key) {
  check_probability("dropout_mask", p);
  Tensor mask(shape, dtype, device);
  TANDEM_DISPATCH(device, dropout_mask(mask, p, key));
  return mask;
}

}  // namespace tandem
