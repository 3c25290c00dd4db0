// RepeatedGemm: f64 and f32 products go to gemm(), bf16 products to oneDNN with packed operands.
#include "tandem/ops/gemm/repeated.h"

#include <algorithm>
#include <type_traits>

#include "tandem/core/parallel.h"
#include "tandem/ops/gemm/log.h"
#include "tandem/ops/gemm/onednn.h"
#include "tandem/ops/gemm/pack.h"
#include "tandem/ops/gemm/partition.h"
#include "tandem/ops/support/thread_scratch.h"

namespace tandem::cpu {
namespace {

template <class T>
bool is_packed(const Gemm& p) {
  return std::is_same_v<T, float> && p.precision == MatmulPrecision::bf16;
}

template <class T>
bool is_transposed(const Gemm& p) {
  return std::is_same_v<T, float> && !is_packed<T>(p) && !p.transpose_b;
}

template <class T>
size_t copy_bytes(const Gemm& p) {
  if (is_packed<T>(p)) return packed_depth(p.k) * packed_width(p.n) * sizeof(bf16);
  return is_transposed<T>(p) ? p.k * p.n * sizeof(T) : 0;
}

void multiply_packed(float* c, const float* a, const bf16* right, const Gemm& p) {
  note_gemm({.m = p.m,
             .n = p.n,
             .k = p.k,
             .transpose_b = p.transpose_b,
             .accumulate = p.accumulate,
             .dtype = DType::bf16,
             .count = 1});
  const bool parallel = worth_threads(p);
  const int64_t depth = packed_depth(p.k), columns = task_size(p.n, 256, kPackedWidth, 1);
  const Storage left(p.m * depth * sizeof(bf16), Device::cpu());
  const ThreadScratch tiles(p.m * columns * sizeof(float), parallel);
  bf16* rows = static_cast<bf16*>(left.data());
  pack_left(rows, a, p.lda, false, p.m, p.k);
  parallel_for((p.n + columns - 1) / columns, parallel, [&](int64_t task) {
    const SingleThreaded single;
    float* const tile = tiles.own<float>();
    const int64_t j = task * columns, n = std::min(columns, p.n - j), width = packed_width(n);
    onednn_multiply_packed(tile, rows, right + j * depth, p.m, width, depth, false);
    for (int64_t row = 0; row < p.m; ++row)
      write_row(c + row * p.ldc + j, tile + row * width, n, nullptr, p.accumulate);
  });
}

}  // namespace

template <class T>
RepeatedGemm<T>::RepeatedGemm(const T* b, const Gemm& p, const Int8Weight* int8_form)
    : b_(b), p_(p), int8_form_(int8_form), copy_(int8_form ? 0 : copy_bytes<T>(p), Device::cpu()) {
  if constexpr (std::is_same_v<T, float>) {
    const bool packed = is_packed<T>(p);
    if (int8_form || (!packed && !is_transposed<T>(p))) return;
    for_blocks(p.n, kPackedWidth, p.k, [this, b, &p, packed](int64_t begin, int64_t end) {
      const T* columns = b + (p.transpose_b ? begin * p.ldb : begin);
      if (packed)
        pack_right(static_cast<bf16*>(copy_.data()) + begin * packed_depth(p.k), columns, p.ldb,
                   p.transpose_b, p.k, end - begin);
      else
        transpose_into(static_cast<T*>(copy_.data()) + begin * p.k, p.k, false, columns, p.ldb, p.k,
                       end - begin);
    });
    if (packed) return;
    b_ = static_cast<const T*>(copy_.data());
    p_.transpose_b = true;
    p_.ldb = p.k;
  }
}

template <class T>
void RepeatedGemm<T>::run(T* c, const T* a) const {
  if constexpr (std::is_same_v<T, float>) {
    if (int8_form_) return gemm_int8(c, a, p_, *int8_form_);
    if (is_packed<T>(p_)) return multiply_packed(c, a, static_cast<const bf16*>(copy_.data()), p_);
  }
  gemm(c, a, b_, p_);
}

template class RepeatedGemm<float>;
template class RepeatedGemm<double>;

}  // namespace tandem::cpu
