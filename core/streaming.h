// Rows on their way from memory and to it.
//
// Streaming stores: results that are read again only after much else has passed through the caches are
// written past them. A plain store of a line that is not in cache first reads it from memory; on machines
// whose memory is the bottleneck that is most of what a large result costs.
//
// Prefetching: rows of tensors seldom lie where the hardware looks for the next one by itself. They are asked
// for a few rows ahead, a piece at a time between the arithmetic on others: a core waits for a few dozen
// lines at most, and a burst of requests beyond that holds up all that comes after it.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__SSE2__) && !defined(__CUDACC__)
#include <emmintrin.h>

#include "core/macros.h"
#endif

namespace tandem {

// Results of at least so many bytes are worth it: smaller ones may still be in the last cache when they are
// read. On two cores of a Xeon with 480 MB of shared cache a copy alone gains from 64 MB on (128 MB: 26 GB/s
// plainly, 37 streamed; 32 MB: 55 either way), but a step's other tensors pass through the same caches: there
// the scan's results of 30 MiB took a third less time streamed.
inline constexpr int64_t kStreamingBytes = 16 << 20;

inline bool worth_streaming(int64_t bytes) {
  return bytes >= kStreamingBytes;
}

// out[0..n) = x[0..n), past the caches where the machine can. Other threads see it after finish_streaming().
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

// Asks for x[0..n), which need not exist.
template <class T>
TANDEM_INLINE void prefetch_row(const T* x, int64_t n) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t i = 0; i < n; i += kLine) __builtin_prefetch(x + i);
}

// Each thread calls it after its last stream_row() and before it tells others.
inline void finish_streaming() {
#if defined(__SSE2__) && !defined(__CUDACC__)
  _mm_sfence();
#endif
}

}  // namespace tandem
