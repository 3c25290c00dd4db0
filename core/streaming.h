// Non-temporal stores and software prefetch for large rows.
//
// Streaming stores write past the caches. They are for results that are read again only after much other data has
// passed through the caches. A plain store to a line that is not in cache first reads the line from memory; where
// memory is the bottleneck, that read is most of the cost of a large result.
//
// Prefetching: the hardware prefetcher seldom finds the next row of a tensor. Kernels request rows a few rows ahead,
// in pieces between the arithmetic on others: a core can have only a few dozen lines in flight, and a burst of more
// requests stalls everything after it.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__SSE2__) && !defined(__CUDACC__)
#include <emmintrin.h>

#include "tandem/core/macros.h"
#endif

namespace tandem {

// Smallest result that is streamed; a smaller one may still be in the last-level cache when it is read. On two cores
// of a Xeon with 480 MB of shared cache a copy alone gains from 64 MB on (128 MB: 26 GB/s plain, 37 streamed; 32 MB:
// 55 either way). In a training step, where other tensors pass through the same caches, the scan's results of 30 MiB
// took a third less time streamed.
inline constexpr int64_t kStreamingBytes = 16 << 20;

inline bool worth_streaming(int64_t bytes) {
  return bytes >= kStreamingBytes;
}

// out[0..n) = x[0..n), past the caches if the CPU can. Other threads see it after finish_streaming().
template <class T>
TANDEM_INLINE void stream_row(T* out, const T* x, int64_t n) {
#if defined(__SSE2__) && !defined(__CUDACC__)
  constexpr int64_t kUnit = sizeof(__m128i) / sizeof(T);
  int64_t i = 0;
  for (; i < n && reinterpret_cast<uintptr_t>(out + i) % sizeof(__m128i) != 0; ++i) out[i] = x[i];
  for (; i + kUnit <= n; i += kUnit)
    _mm_stream_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + i)));
  for (; i < n; ++i) out[i] = x[i];
#else
  std::memcpy(out, x, n * sizeof(T));
#endif
}

// Requests the cache lines of x[0..n). The address need not be valid.
template <class T>
TANDEM_INLINE void prefetch_row(const T* x, int64_t n) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < n; i += kLine) __builtin_prefetch(x + i);
}

// Makes this thread's streamed rows visible to other threads. Call it after the last stream_row(), before
// synchronising.
inline void finish_streaming() {
#if defined(__SSE2__) && !defined(__CUDACC__)
  _mm_sfence();
#endif
}

}  // namespace tandem
