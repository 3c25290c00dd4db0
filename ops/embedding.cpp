// embedding on the CPU: forward gathers rows, backward adds them up.
#include "tandem/ops/embedding.h"

#include <cstring>

#include "tandem/autograd/accumulate.h"
#include "tandem/autograd/tape.h"
#include "tandem/core/arguments.h"
#include "tandem/core/array.h"
#include "tandem/core/check.h"
#include "tandem/core/dispatch.h"
#include "tandem/core/macros.h"
#include "tandem/core/parallel.h"
#include "tandem/ops/support/check_ids.h"
#include "tandem/ops/support/weight_cache.h"

namespace tandem {
namespace {

constexpr int64_t kColumns = 128;  // columns of the table's gradient that one thread sums in backward

template <class T>
TANDEM_INLINE void add_rows_body(T* dtable, int64_t rows, const T* dy, const int32_t* ids, int64_t count,
                                 int64_t stride, int64_t width) {
  for (int64_t i = 0; i < count; ++i) {
    if (ids[i] < 0 || ids[i] >= rows) continue;
    T* out = dtable + ids[i] * stride;
    const T* in = dy + i * stride;
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) out[d] += in[d];
  }
}
TANDEM_SIMD void add_rows(float* dtable, int64_t rows, const float* dy, const int32_t* ids, int64_t count,
                          int64_t stride, int64_t width) {
  add_rows_body(dtable, rows, dy, ids, count, stride, width);
}
TANDEM_SIMD void add_rows(double* dtable, int64_t rows, const double* dy, const int32_t* ids, int64_t count,
                          int64_t stride, int64_t width) {
  add_rows_body(dtable, rows, dy, ids, count, stride, width);
}

Shape with_width(const Shape& ids, int64_t width) {
  TANDEM_CHECK(ids.rank() < Shape::kMaxRank,
               "embedding: ids {} have {} axes; the result would have more than {}", ids.str(), ids.rank(),
               Shape::kMaxRank);
  std::array<int64_t, Shape::kMaxRank> sizes{};
  std::copy(ids.begin(), ids.end(), sizes.begin());
  sizes[ids.rank()] = width;
  return Shape(std::span<const int64_t>(sizes.data(), ids.rank() + 1));
}

}  // namespace

namespace cpu {

void embedding_forward(const Tensor& y, const Tensor& ids, const Tensor& table) {
  dispatch_float(table.dtype(), "embedding", [&]<class T>() {
    T* out = y.data<T>();
    const T* rows = table.data<T>();
    const int32_t* index = ids.data<int32_t>();
    const int64_t width = table.size(1);
    for_rows(ids.numel(), width, [out, rows, index, width](int64_t i, int64_t end) {
      for (; i < end; ++i) std::memcpy(out + i * width, rows + index[i] * width, sizeof(T) * width);
    });
  });
}

// Each thread takes all ids for some of the columns: no two threads write to one place, and the ids are added
// in order.
void embedding_backward(const Tensor& dtable, const Tensor& dy, const Tensor& ids, bool accumulate) {
  if (!accumulate) cpu::fill(dtable, 0);
  dispatch_float(dy.dtype(), "embedding", [&]<class T>() {
    T* out = dtable.data<T>();
    const T* in = dy.data<T>();
    const int32_t* index = ids.data<int32_t>();
    const int64_t rows = dtable.size(0), count = ids.numel(), width = dtable.size(1);
    for_blocks(width, kColumns, count, [out, rows, in, index, count, width](int64_t begin, int64_t end) {
      add_rows(out + begin, rows, in + begin, index, count, width, end - begin);
    });
  });
}

}  // namespace cpu

Tensor embedding(const Tensor& ids, const Tensor& table, DType dtype) {
  check_defined("embedding", {{"ids", ids}, {"table", table}});
  TANDEM_CHECK(table.rank() == 2 && is_floating(table.dtype()),
               "embedding: table is {}; it must be floating (V, D)", table.summary());
  TANDEM_CHECK(ids.device() == table.device(),
               "embedding: ids are {}, table is {}; bring both to one device with .to()", ids.summary(),
               table.summary());
  TANDEM_CHECK(table.dtype() == parameter_dtype(dtype),
               "embedding: table is {}; rows of {} come from one of {}", table.summary(), name_of(dtype),
               name_of(parameter_dtype(dtype)));
  TANDEM_CHECK(dtype == table.dtype() || table.device().is_cuda(),
               "embedding: table is {}; on the CPU its rows come out in its own dtype, not as {}",
               table.summary(), name_of(dtype));
  TANDEM_CHECK(table.size(0) > 0 || ids.numel() == 0, "embedding: table is {}, without a row for ids {}",
               table.summary(), ids.summary());
  check_ids("embedding: ids", ids, table.size(0));
  Tensor y(with_width(ids.shape(), table.size(1)), dtype, table.device());
  TANDEM_DISPATCH(table.device(), embedding_forward(y, ids, table));
  return record("embedding", y, {table}, [ids, table](const Tensor& dy) -> Grads {
    const GradTarget dtable = grad_target(table);
    TANDEM_DISPATCH(dy.device(), embedding_backward(dtable.grad, dy, ids, dtable.accumulate));
    return {dtable.grad};
  });
}

Tensor embedding(const Tensor& ids, const Tensor& table) {
  check_defined("embedding", {{"table", table}});
  return embedding(ids, table, table.dtype());
}

}  // namespace tandem
