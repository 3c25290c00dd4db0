// attention: softmax(Q K^T / sqrt(d)) V over a memory and the past, with one head or many.
//
// Vaswani et al., "Attention is all you need" (2017); for the masks of SRU++: Lei, "When attention meets fast
// recurrence" (2021). There are no positions here: they come from a recurrence, or the caller adds them.
#pragma once
#include "tandem/core/tensor.h"
#include "tandem/ops/dropout.h"
#include "tandem/ops/gemm/precision.h"

namespace tandem {

struct AttentionOptions {
  int64_t heads = 1;    // contiguous slices of the width, each with a softmax of its own
  int64_t window = 0;   // number of keys that a query sees at most, its own included; 0: no limit
  double dropout = 0;   // probability of dropping an attention weight, after the softmax
  DropoutKey key = {};  // the weight of key j for query t is element ((b heads + h) T + t) (M + T) + j
};

// Returns softmax(Q K^T / sqrt(D / heads)) V: q (T, B, D), kv (M + T, B, 2 D) -> (T, B, D). The first D
// columns of kv are the keys, the last D the values. The first M rows are memory, the others belong to the
// queries: query t sees key j if j <= M + t, and with a window only if also j > M + t - window. (SRU++ with a
// memory of M rows evaluates with window = M + 1.) A tap hears causal_attention.weights (B, heads, T, M + T).
//
// The masked triangle is not computed, and the weights are not stored: backward computes them again, block by
// block, from q, kv and one number per query and head. f32 is multiplied in matmul_precision(). If that is
// bf16 on a CPU, kv and its gradient may be bf16 with q in f32 (see linear_bf16_out()); the result has the
// same bits, since the products round kv anyway. Error: shapes or dtypes that do not fit, fewer keys than
// queries, heads that do not divide D, a negative window, dropout outside [0, 1).
Tensor causal_attention(const Tensor& q, const Tensor& kv, const AttentionOptions& options = {});

// Returns the attention of one token per sequence, for generation: q (B, D) and the first `valid` rows of
// kv_cache (capacity, B, 2 D), laid out as kv -> (B, D). The order of the rows does not matter, so a full
// cache can be overwritten as a ring. On a CPU the cache may be bf16 with q in f32. Records nothing on the
// tape. A tap hears attend_cached.weights (B, heads, 1, valid), in the order of the rows. Error: shapes that do not fit, valid outside [1, capacity], heads that do not divide D.
Tensor attend_cached(const Tensor& q, const Tensor& kv_cache, int64_t valid, int64_t heads = 1);

// How causal_attention() and relative_attention() compute on a GPU. AttentionScope sets it for this thread while it
// lives; backward runs as its forward did.
//   waves: the scores of a block, in multiples of those whose products fill the GPU once. Nothing but the rounding of
//     the results depends on it.
//   bf16_scores: where q is bf16, scores and the gradients of the weights are rounded to bf16 in memory, which halves
//     what the kernel between the products reads. A score s, as the softmax sees it, is then off by |s| / 512 at most.
// Error: waves lies outside (0, 1000].
struct AttentionTuning {
  double waves = 1;
  bool bf16_scores = false;
};
class AttentionScope {
 public:
  explicit AttentionScope(const AttentionTuning& tuning);
  ~AttentionScope();
  AttentionScope(const AttentionScope&) = delete;
  AttentionScope& operator=(const AttentionScope&) = delete;

 private:
  AttentionTuning outer_;
};
// Returns what the scope says that is the innermost one of this thread.
const AttentionTuning& attention_tuning();

// The arguments of the kernels besides the tensors.
struct AttentionKernel {
  AttentionOptions options;
  MatmulPrecision precision = MatmulPrecision::f32;
  AttentionTuning tuning = {};
};

// The position term of relative attention (ops/relative_attention.h), q (T, B, D) and r (P, D). It adds
// q_t . r_d, d = min(M + t - j, P - 1), to the score of query t and key j before the scaling. Both undefined:
// no such term.
struct PositionTerm {
  Tensor q, r;
  bool any() const { return r.defined(); }
};

// Checks the arguments of causal_attention() for the operator named `what`; kv must be of kv_dtype. Error: as
// there.
void check_attention(const char* what, const Tensor& q, const Tensor& kv, DType kv_dtype,
                     const AttentionOptions& options);

namespace cpu {
// Writes y and lse (B, heads, T), the log of the sum of the exponentials of each query's scores.
void attention_forward(const Tensor& y, const Tensor& lse, const Tensor& q, const Tensor& kv,
                       const PositionTerm& positions, const AttentionKernel& kernel);
// Overwrites dq, dkv and, if there are positions, dpositions. kv and dkv may be bf16 with the others in f32,
// in precision bf16 and without positions only.
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
