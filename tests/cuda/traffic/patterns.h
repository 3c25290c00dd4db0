// Kernels whose traffic is known: what the counts are checked with.
#pragma once
#include <cstdint>

namespace tandem::testing {

// Each kernel runs in one block of `threads` threads, which are a multiple of 32; thread i reads x[i * stride] and
// writes y[i].
void copy_strided(float* y, const float* x, unsigned threads, int64_t stride);
// y[i] = x[i] + x[i], read by two instructions with a barrier between them.
void read_twice(float* y, const float* x, unsigned threads);
// All threads read x[0].
void read_one(float* y, const float* x, unsigned threads);
// As copy_strided with stride 1, in vectors of four elements; `threads` is the number of vectors.
void copy_vectors(float* y, const float* x, unsigned threads);
// Each thread of one warp writes the word `lane * stride` of shared memory and reads it again. `dynamic`: of dynamic
// shared memory.
void use_shared(float* y, int stride, bool dynamic);
// The lanes of one warp read the first `lane % 4` elements of x, which are at least 3, in a loop; then all read x[3].
void loop_unevenly(float* y, const float* x);
// One warp; each lane increments *counter.
void increment(unsigned* counter);

}  // namespace tandem::testing
