// All calls of oneDNN: f32 products, and bf16 and int8 products of packed operands, each on one thread. Without
// memory for their code or scratch they throw OutOfMemory. Internal to the CPU kernels.
#pragma once
#include <cstdint>

#include "tandem/core/dtype.h"

namespace tandem::cpu {

// Keeps oneDNN to the calling thread while it lives, inside or outside of a parallel region. Tandem shares
// the work among the threads itself, in pieces that do not depend on their number.
class SingleThreaded {
 public:
  SingleThreaded();
  ~SingleThreaded();
  SingleThreaded(const SingleThreaded&) = delete;
  SingleThreaded& operator=(const SingleThreaded&) = delete;

 private:
  int outer_;
};

// C = op(A) op(B), or C += with accumulate. Row-major with leading dimensions; m, n, k > 0. Requires a
// SingleThreaded.
void onednn_sgemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float* a,
                  int64_t lda, const float* b, int64_t ldb, bool accumulate, float* c, int64_t ldc);

// True if the CPU has bf16 instructions and oneDNN has a kernel that uses them on packed operands.
bool onednn_has_bf16();

// C = left right, or C += with accumulate, for operands packed by ops/gemm/pack.h: left is (m, k), right is
// (k, n) and C is (m, n) without gaps. k is a multiple of kPackedDepth. Requires a SingleThreaded.
void onednn_multiply_packed(float* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k,
                            bool accumulate);
// The same with C rounded to bf16 after the last sum.
void onednn_multiply_packed(bf16* c, const bf16* left, const bf16* right, int64_t m, int64_t n, int64_t k);

// True if the CPU has 8-bit instructions (AVX-512 VNNI or AMX) and oneDNN has a kernel that uses them.
bool onednn_has_int8();

// C = left right, exactly: left is u8 (m, k), right is packed by ops/gemm/int8.h, and C is i32 (m, n), all
// without gaps. k and n are multiples of 64. Requires a SingleThreaded.
void onednn_multiply_int8(int32_t* c, const uint8_t* left, const int8_t* right, int64_t m, int64_t n,
                          int64_t k);

}  // namespace tandem::cpu
