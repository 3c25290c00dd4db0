// Compiler switches shared by all kernels: host/device functions, dispatch by device, SIMD clones.
#pragma once

// A function that the CPU loop and the CUDA kernel both call: the arithmetic of one element, written once.
#ifdef __CUDACC__
#define TANDEM_HD __host__ __device__
#else
#define TANDEM_HD
#endif

// Always inlined, so that a function cloned per instruction set takes the whole inner loop with it.
#define TANDEM_INLINE inline __attribute__((always_inline))

// Put before a loop over one row: the compiler makes an AVX-512, an AVX2 and a baseline version and the
// loader picks one, so one binary runs everywhere. OpenMP regions must stay outside (their bodies are not
// cloned). No header may declare such a function: clang 14 then gives its name to the first version, for
// which nothing asks what the CPU has; what others call is a plain function around it. Sanitizers cannot
// start before the loader's choice, so sanitized builds take the baseline.
#if defined(__x86_64__) && !defined(TANDEM_SANITIZE) && !defined(__CUDACC__)
#if defined(__clang__)
#define TANDEM_SIMD __attribute__((target_clones("avx512bw", "avx2", "default")))
#else
#define TANDEM_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#else
#define TANDEM_SIMD
#endif

namespace tandem {
#ifdef TANDEM_WITH_CUDA
inline constexpr bool kWithCuda = true;
#else
inline constexpr bool kWithCuda = false;
#endif
}  // namespace tandem

// Calls tandem::cuda::call or tandem::cpu::call. Without CUDA the first is checked by the compiler and
// discarded: no stubs, no #ifdef. Use inside namespace tandem.
#define DISPATCH(device, call)           \
  do {                                   \
    if constexpr (::tandem::kWithCuda) { \
      if ((device).is_cuda()) {          \
        cuda::call;                      \
        break;                           \
      }                                  \
    }                                    \
    cpu::call;                           \
  } while (0)
