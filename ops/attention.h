// Causal attention with memory, one head or many: softmax(Q K^T / sqrt(d)) V, where each row sees the memory
// and the past.
//
// Vaswani et al., "Attention is all you need" (2017); Lei, "When attention meets fast recurrence" (2021) for
// the masks of SRU++. There are no positions here: they come from the recurrence, or are the caller's.
#pragma once
#include "core/tensor.h"
#include "ops/dropout.h"
#include "ops/gemm/precision.h"

namespace tandem {

struct AttentionOptions {
  int64_t heads = 1;    // contiguous slices of the width; each attends for itself
  int64_t window = 0;   // keys a query sees at most, its own included; 0: all that are not in its future
  double dropout = 0;   // of the attention weights, after the softmax
  DropoutKey key = {};  // element ((b heads + h) T + t) (M + T) + j is the weight of key j in query t
};

// q (T, B, D) and kv (M + T, B, 2 D) -> (T, B, D). Of kv's columns the first D are the keys and the last D
// the values; of its rows the first M are memory and the others belong to the queries: query t sees key j if
// j <= M + t, and with a window only if j > M + t - window (SRU++ with a memory of M rows evaluates with
// window = M + 1). The masked triangle is not computed, and weights are not stored: backward computes them
// again, block by block, from q, kv, and one number a query and head. f32 goes by matmul_precision(); where
// that is bf16 on a CPU, kv may be bf16 beside q in f32 (linear_bf16_out() makes it), and so is its gradient:
// the same bits, for the products round it anyway. Error: shapes or dtypes that do not fit, T > M + T, heads
// that do not divide D, a negative window, dropout outside [0, 1).
Tensor causal_attention(const Tensor& q, const Tensor& kv, const AttentionOptions& options = {});

// For generation, a token at a time: q (B, D) against the first `valid` rows of a cache (capacity, B, 2 D)
// laid out as kv. The order of the rows does not matter, so a full cache is overwritten in a ring. -> (B, D).
// On a CPU the cache may be bf16 beside q in f32. Records nothing. Error: shapes that do not fit, valid
// outside [1, capacity], heads that do not divide D.
Tensor attend_cached(const Tensor& q, const Tensor& kv_cache, int64_t valid, int64_t heads = 1);

// What a kernel is told besides its tensors.
struct AttentionKernel {
  AttentionOptions options;
  MatmulPrecision precision = MatmulPrecision::f32;
  int64_t scores_at_once = 0;  // a GPU's blocks hold about so many; 0: as many as fill the GPU
};

// Relative positions in a kernel's scores (ops/relative_attention.h): to that of query t and key j they add
// q_t . r_d, d = min(M + t - j, P - 1); q (T, B, D), r (P, D). Both undefined: there are none.
struct PositionTerm {
  Tensor q, r;
  bool any() const { return r.defined(); }
};

// For an operator named `what`: throws where q, kv, which must be of kv_dtype, and the options are not as
// said of causal_attention.
void check_attention(const char* what, const Tensor& q, const Tensor& kv, DType kv_dtype,
                     const AttentionOptions& options);

namespace cpu {
// lse (B, heads, T): log of the sum of exponentials of each query's scores.
void attention_forward(const Tensor& y, const Tensor& lse, const Tensor& q, const Tensor& kv,
                       const PositionTerm& positions, const AttentionKernel& kernel);
// kv, and dkv with it, in bf16 beside f32: only in precision bf16, and without positions. Writes all of dq,
// dkv and, where there are positions, dpositions.
void attention_backward(const Tensor& dq, const Tensor& dkv, const PositionTerm& dpositions, const Tensor& dy,
                        const Tensor& q, const Tensor& kv, const PositionTerm& positions, const Tensor& y,
                        const Tensor& lse, const AttentionKernel& kernel);
void attend_cached(const Tensor& y, const Tensor& q, const Tensor& kv_cache, int64_t valid, int64_t heads);
}  // namespace cpu

namespace cuda {
void attention_forward(const Tensor& y, const Tensor& lse, const Tensor& q, const Tensor& kv,
                       const PositionTerm& positions, const AttentionKernel& kernel);
void attention_backward(const Tensor& dq, const Tensor& dkv, const PositionTerm& dpositions, const Tensor& dy,
                        const Tensor& q, const Tensor& kv, const PositionTerm& positions, const Tensor& y,
                        const Tensor& lse, const AttentionKernel& kernel);
void attend_cached(const Tensor& y, const Tensor& q, const Tensor& kv_cache, int64_t valid, int64_t heads);
}  // namespace cuda

}  // namespace tandem
