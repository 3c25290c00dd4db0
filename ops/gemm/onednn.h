// The only place that talks to oneDNN: single-threaded f32 products, and packed bf16 and int8 ones. Internal
// to the CPU kernels.
#pragma once
#include <cstdint>

#include "core/dtype.h"

namespace tandem::cpu {

// Keeps oneDNN to the calling thread while it lives, inside a parallel region or out of it. Tandem splits the
// work over threads itself, in pieces that do not depend on how many there are.
class SingleThreaded {
 public:
  SingleThreaded();
  ~SingleThreaded();
  SingleThreaded(const SingleThreaded&) = delete;
  SingleThreaded& operator=(const SingleThreaded&) = delete;

 private:
  int outer_;
};

// C = op(A) op(B), or C += with accumulate. Row-major with leading dimensions; m, n, k > 0. Under
// SingleThreaded.
void onednn_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
                  int64_t lda, const float* b, int64_t ldb, bool accumulate, float* c, int64_t ldc);

// The CPU has bf16 instructions and oneDNN has a kernel on them for packed operands.
bool onednn_has_bf16();

// C = left right, or C += with accumulate, of operands packed by ops/gemm/pack.h: left is (m, k), right is
// (k, n) and C, in f32, is (m, n) without gaps. k is a multiple of kPackedDepth. Under SingleThreaded.
void onednn_multiply_packed(float* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k,
                            bool accumulate);
// The same with C rounded to bf16 once it is complete.
void onednn_multiply_packed(bf16* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k);

// The same for 8-bit integers (AVX-512 VNNI or AMX).
bool onednn_has_int8();

// C = left right, exact: left is u8 (m, k), right is packed by ops/gemm/int8.h, and C is i32 (m, n), all
// without gaps. k and n are multiples of 64. Under SingleThreaded.
void onednn_multiply_int8(int32_t* c, const uint8_t* left, const int8_t* right, int64_t m, int64_t n,
                          int64_t k);

}  // namespace tandem::cpu
