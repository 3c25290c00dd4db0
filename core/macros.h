// Compiler attributes that kernels share: functions for host and device, forced inlining, SIMD versions.
#pragma once

// Marks a function that both the CPU loop and the CUDA kernel call: the arithmetic of one element, written once.
#ifdef __CUDACC__
#define TANDEM_HD __host__ __device__
#else
#define TANDEM_HD
#endif

// Forces inlining, so that a TANDEM_SIMD function compiles the whole inner loop for each instruction set.
#define TANDEM_INLINE inline __attribute__((always_inline))

// Marks a function with the loop over one row. The compiler makes an AVX-512, an AVX2 and a baseline version of it,
// and the loader picks one for the CPU, so that one binary runs everywhere.
// - Keep OpenMP regions outside: their bodies become functions of their own, which are not compiled three times.
// - Define such functions in .cpp files only and call them from elsewhere through a plain wrapper: with a
//   declaration in a header, clang 14 binds calls to the AVX-512 version without checking the CPU.
// - Sanitizers cannot start before the loader's choice, so sanitized builds compile the baseline alone.
#if defined(__x86_64__) && !defined(TANDEM_SANITIZE) && !defined(__CUDACC__)
#if defined(__clang__)
#define TANDEM_SIMD __attribute__((target_clones("avx512bw", "avx2", "default")))
#else
#define TANDEM_SIMD __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#endif
#else
#define TANDEM_SIMD
#endif
