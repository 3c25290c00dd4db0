// RepeatedGemm: many products with one right operand, such as the weight that every step of a recurrence
// multiplies with. What does not depend on the left operand is done once.
#pragma once
#include "core/storage.h"
#include "ops/gemm/int8.h"

namespace tandem::cpu {

// C = A op(B) + beta C, again and again, by the rules of gemm(): f64, f32, or f32 multiplied in bf16 as `p`
// says, the same bits for any number of threads. In bf16 B is packed at the start; in f32 it is transposed
// there if it was not, for long columns are slow to walk. With the weight's 8-bit form, if not null, it is
// multiplied in int8 (f32 only).
template <class T>
class RepeatedGemm {
 public:
  // p has no transpose_a and no batch. b is read by run() too, so it must keep its place and its values.
  RepeatedGemm(const T* b, const Gemm& p, const Int8Weight* form = nullptr);
  void run(T* c, const T* a) const;

 private:
  const T* b_;
  Gemm p_;
  const Int8Weight* form_;
  Storage copy_;  // of op(B), or nothing
};

}  // namespace tandem::cpu
