// RepeatedGemm: many products with one right operand, such as the weight that every step of a recurrence
// multiplies with. Work that does not depend on the left operand is done once.
#pragma once
#include "tandem/core/storage.h"
#include "tandem/ops/gemm/int8.h"

namespace tandem::cpu {

// Computes C = A op(B) + beta C many times, by the rules of gemm(): in f64, f32, or f32 multiplied in bf16,
// as p.precision says, with the same bits for any number of threads. The constructor packs B for products in
// bf16. For products in f32 it transposes B unless p.transpose_b is set, since walking down long columns is
// slow.
template <class T>
class RepeatedGemm {
 public:
  // p has no transpose_a and no batch. b must outlive this object, unchanged. int8_form, if not null, is the
  // 8-bit form of b (T is float): products are then computed in int8.
  RepeatedGemm(const T* b, const Gemm& p, const Int8Weight* int8_form = nullptr);
  // c and a: as in gemm(), with the leading dimensions of p.
  void run(T* c, const T* a) const;

 private:
  const T* b_;
  Gemm p_;
  const Int8Weight* int8_form_;
  Storage copy_;  // op(B), packed or transposed; empty if b_ is used as it is
};

}  // namespace tandem::cpu
