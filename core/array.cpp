// Whole-array primitives on the CPU, and their dispatch by device.
#include "tandem/core/array.h"

#include <cmath>
#include <cstring>

#include "tandem/core/arguments.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"

namespace tandem {

namespace {

template <class To, class From>
To cast(From value) {
  if constexpr (std::is_same_v<To, bf16>)
    return bf16(static_cast<float>(value));
  else if constexpr (std::is_same_v<From, bf16>)
    return static_cast<To>(static_cast<float>(value));
  else
    return static_cast<To>(value);
}

template <class To, class From>
void convert_row(To* y, const From* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = cast<To>(x[i]);
}
// The conversion that large arrays need.
TANDEM_SIMD void convert_row(bf16* y, const float* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i].bits = bf16(x[i]).bits;  // a store of the struct would not become SIMD
}

TANDEM_SIMD void add_row(float* y, const float* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

TANDEM_SIMD void add_row(double* y, const double* x, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void add_row(bf16* y, const bf16* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = bf16(static_cast<float>(y[i]) + static_cast<float>(x[i]));
}

// An exponent field of all ones means NaN or infinity. Testing bits vectorises, and no compiler flag changes it.
TANDEM_SIMD bool finite_row(const uint32_t* x, int64_t n) {
  uint32_t bad = 0;
#pragma omp simd reduction(| : bad)
  for (int64_t i = 0; i < n; ++i) bad |= (x[i] & 0x7f800000u) == 0x7f800000u;
  return bad == 0;
}

}  // namespace

namespace cpu {

void fill(const Tensor& y, double value) {
  if (value == 0) {
    if (y.numel() > 0) std::memset(y.raw(), 0, y.nbytes());
    return;
  }
  dispatch_dtype(y.dtype(), [&]<class T>() { std::fill_n(y.data<T>(), y.numel(), cast<T>(value)); });
}

void convert(const Tensor& y, const Tensor& x) {
  if (x.dtype() == y.dtype()) {
    if (x.numel() > 0) std::memcpy(y.raw(), x.raw(), x.nbytes());
    return;
  }
  dispatch_dtype(x.dtype(), [&]<class From>() {
    dispatch_dtype(y.dtype(), [&]<class To>() {
      const int64_t n = x.numel();
      const From* in = x.data<From>();
      To* out = y.data<To>();
      constexpr int64_t kBlock = kParallelGrain;
      for_blocks(n, kBlock, 1, [out, in](int64_t begin, int64_t end) {
        convert_row(out + begin, in + begin, end - begin);
      });
    });
  });
}

void copy_if(const Tensor& y, const Tensor& x, const Tensor& flag) {
  if (*flag.data<double>() != 0) convert(y, x);
}

void add_in_place(const Tensor& y, const Tensor& x) {
  dispatch_dtype(y.dtype(), [&]<class T>() {
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16>) {
      const int64_t n = y.numel();
      T* out = y.data<T>();
      const T* in = x.data<T>();
      constexpr int64_t kBlock = kParallelGrain;
      for_blocks(n, kBlock, 1,
                 [out, in](int64_t begin, int64_t end) { add_row(out + begin, in + begin, end - begin); });
    }
  });
}

void pack(const Tensor& y, const std::vector<Tensor>& xs, const std::vector<int64_t>& begins) {
  const size_t size = size_of(y.dtype());
  for (size_t i = 0; i < xs.size(); ++i)
    if (xs[i].numel() > 0)
      std::memcpy(static_cast<char*>(y.raw()) + static_cast<size_t>(begins[i]) * size, xs[i].raw(),
                  xs[i].nbytes());
}

void all_finite(bool& finite, const Tensor& x) {
  finite = true;
  if (x.dtype() == DType::f32) {
    finite = finite_row(static_cast<const uint32_t*>(x.raw()), x.numel());
  } else if (x.dtype() == DType::f64) {
    for (double value : x.span<double>()) finite = finite && std::isfinite(value);
  } else if (x.dtype() == DType::bf16) {
    for (bf16 value : x.span<bf16>()) finite = finite && (value.bits & 0x7f80u) != 0x7f80u;
  }
}

}  // namespace cpu

void fill(const Tensor& y, double value) {
  check_defined("fill", {{"y", y}});
  y.storage()->touch();
  TANDEM_DISPATCH(y.device(), fill(y, value));
}

void copy(const Tensor& y, const Tensor& x) {
  check_defined("copy", {{"y", y}, {"x", x}});
  TANDEM_CHECK(x.shape() == y.shape(), "copy: shapes differ: from x, {}, to y, {}", x.summary(), y.summary());
  y.storage()->touch();
  if (x.device() == y.device()) {
    TANDEM_DISPATCH(x.device(), convert(y, x));
  } else if constexpr (kWithCuda) {
    // Convert on the source's device, so that the copy across has one dtype.
    cuda::copy_across(y, x.detach().to(y.dtype()));
  } else {
    detail::fail("copy: from x, {}, to y, {}, but this build has no CUDA", x.summary(), y.summary());
  }
}

void copy_or_zeros(const Tensor& y, const Tensor& x) {
  if (x.defined())
    copy(y, x);
  else
    fill(y, 0);
}

void copy_if(const Tensor& y, const Tensor& x, const Tensor& flag) {
  check_defined("copy_if", {{"y", y}, {"x", x}, {"flag", flag}});
  TANDEM_CHECK(
      x.shape() == y.shape() && x.dtype() == y.dtype() && x.device() == y.device() &&
          flag.device() == y.device() && flag.dtype() == DType::f64 && flag.numel() == 1,
      "copy_if: needs two tensors of one shape, dtype and device and an f64 flag there: x is {}, y {}, flag {}",
      x.summary(), y.summary(), flag.summary());
  y.storage()->touch();
  TANDEM_DISPATCH(y.device(), copy_if(y, x, flag));
}

void add_in_place(const Tensor& y, const Tensor& x) {
  check_defined("add_in_place", {{"y", y}, {"x", x}});
  TANDEM_CHECK(
      x.shape() == y.shape() && x.dtype() == y.dtype() && x.device() == y.device() && is_floating(x.dtype()),
      "add_in_place: y is {}, x is {}; they must be floating, of one shape, dtype and device", y.summary(),
      x.summary());
  y.storage()->touch();
  TANDEM_DISPATCH(y.device(), add_in_place(y, x));
}

void pack(const Tensor& y, const std::vector<Tensor>& xs, const std::vector<int64_t>& begins) {
  check_defined("pack", {{"y", y}});
  TANDEM_CHECK(
      xs.size() == begins.size() && y.rank() == 1,
      "pack: {} tensors are packed from {} elements of y, {}, on; give each one begin, and y one axis",
      xs.size(), begins.size(), y.summary());
  for (size_t i = 0; i < xs.size(); ++i) {
    check_defined("pack", {{"xs", xs[i]}});
    TANDEM_CHECK(xs[i].dtype() == y.dtype() && xs[i].device() == y.device() && begins[i] >= 0 &&
                     begins[i] <= y.numel() - xs[i].numel(),
                 "pack: xs[{}], {}, cannot be copied to y, {}, from element {} on", i, xs[i].summary(),
                 y.summary(), begins[i]);
  }
  y.storage()->touch();
  TANDEM_DISPATCH(y.device(), pack(y, xs, begins));
}

bool all_finite(const Tensor& x) {
  check_defined("all_finite", {{"x", x}});
  bool finite = true;
  TANDEM_DISPATCH(x.device(), all_finite(finite, x));
  return finite;
}

}  // namespace tandem
