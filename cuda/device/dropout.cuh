// Dropout inside kernels: masks from Philox by index, the same bits as on the CPU.
#pragma once
#include "tandem/core/macros.h"
#include "tandem/cuda/runtime/context.h"
#include "tandem/ops/dropout.h"

namespace tandem::cuda {

// The arguments with which a kernel applies dropout. The step of the key is completed on the device, so that
// a captured graph draws new masks at every replay.
struct DeviceDropout {
  DropoutKey key;
  const uint32_t* step_offset = nullptr;
  uint32_t threshold = 0;  // words below this drop; 0: nothing is dropped
  double kept = 1;         // the factor of kept elements

  // Drops with probability p; for 0 nothing is drawn.
  static DeviceDropout with(double p, const DropoutKey& key) {
    return {key, context().step_offset, keep_threshold(p), 1 / (1 - p)};
  }
  TANDEM_HD bool on() const { return threshold > 0; }
};

// Returns the key of this replay, which is read from memory: call it once in a thread.
__device__ __forceinline__ DropoutKey current_key(const DeviceDropout& dropout) {
  return {dropout.key.seed, dropout.key.step + *dropout.step_offset, dropout.key.site};
}

// The factors of the mask elements 4 * block .. 4 * block + 3, each 0 or `kept`. C is float or double.
template <class C>
struct FourFactors {
  C v[4];
};
template <class C>
__device__ __forceinline__ FourFactors<C> four_factors(const DeviceDropout& dropout, const DropoutKey& key,
                                                       int64_t block) {
  const PhiloxBlock words = philox(key.seed, static_cast<uint64_t>(block), key.step, key.site);
  const C kept = static_cast<C>(dropout.kept);
  return {{words.x >= dropout.threshold ? kept : C(0), words.y >= dropout.threshold ? kept : C(0),
           words.z >= dropout.threshold ? kept : C(0), words.w >= dropout.threshold ? kept : C(0)}};
}
// Returns the factor of one element, with the work that four_factors() does for four.
template <class C>
__device__ __forceinline__ C one_factor(const DeviceDropout& dropout, const DropoutKey& key,
                                        int64_t element) {
  return dropout_word(key, element) >= dropout.threshold ? static_cast<C>(dropout.kept) : C(0);
}

// The factors of elements first .. first + N - 1, where N is 1, 2 or a multiple of 4 and divides `first`.
template <class C, int N>
struct Factors {
  C v[N];
};
template <class C, int N>
__device__ __forceinline__ Factors<C, N> mask_factors(const DeviceDropout& dropout, const DropoutKey& key,
                                                      int64_t first) {
  static_assert(N <= 2 || N % 4 == 0);
  Factors<C, N> factors;
  if constexpr (N == 1) {
    factors.v[0] = one_factor<C>(dropout, key, first);
  } else if constexpr (N == 2) {
    const FourFactors<C> four = four_factors<C>(dropout, key, first / 4);
    const bool upper = first % 4 != 0;
    factors.v[0] = upper ? four.v[2] : four.v[0];
    factors.v[1] = upper ? four.v[3] : four.v[1];
  } else {
#pragma unroll
    for (int k = 0; k < N; k += 4) {
      const FourFactors<C> four = four_factors<C>(dropout, key, (first + k) / 4);
#pragma unroll
      for (int i = 0; i < 4; ++i) factors.v[k + i] = four.v[i];
    }
  }
  return factors;
}

// Returns x * factor; a dropped element is 0 even where x is not finite.
template <class C>
__device__ __forceinline__ C dropped(C x, C factor) {
  return factor > 0 ? x * factor : C(0);
}

// Applies dropout to a vector that begins at element `first` of the mask.
template <class V>
__device__ __forceinline__ void drop(V& values, const DeviceDropout& dropout, const DropoutKey& key,
                                     int64_t first) {
  using C = std::remove_reference_t<decltype(values.v[0])>;
  constexpr int N = sizeof(values.v) / sizeof(C);
  const Factors<C, N> factors = mask_factors<C, N>(dropout, key, first);
#pragma unroll
  for (int k = 0; k < N; ++k) values.v[k] = dropped(values.v[k], factors.v[k]);
}

}  // namespace tandem::cuda
