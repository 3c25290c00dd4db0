// concat_columns: columns copied, in vectors where every row's begin allows it.
#include "tandem/ops/concat.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"

namespace tandem::cuda {
namespace {

// N elements a thread, all of one row: N divides `columns`.
template <int N, class T>
__global__ void __launch_bounds__(kMapThreads)
    copy_kernel(T* y, const T* x, int64_t count, int64_t columns, int64_t y_width, int64_t x_width) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x) * N;
  if (first >= count) return;
  const int64_t row = first / columns, column = first % columns;
  store_vector(y + row * y_width + column, load_vector<T, N>(x + row * x_width + column));
}

template <class T>
void copy_columns(T* y, const T* x, int64_t rows, int64_t columns, int64_t y_width, int64_t x_width) {
  constexpr int N = kVector<T>;
  const bool vectors =
      columns % N == 0 && y_width % N == 0 && x_width % N == 0 && is_aligned(y) && is_aligned(x);
  const int64_t count = rows * columns;
  launch(vectors ? copy_kernel<N, T> : copy_kernel<1, T>,
         blocks_for(count, int64_t{kMapThreads} * (vectors ? N : 1)), kMapThreads, 0, compute_stream(), y, x,
         count, columns, y_width, x_width);
}

}  // namespace

void copy_columns(const Columns& to, const Columns& from, int64_t columns) {
  if (columns == 0) return;
  const int64_t y_width = to.x.size(-1), x_width = from.x.size(-1);
  dispatch_device_float(from.x.dtype(), "concat_columns", [&]<class T>() {
    copy_columns<T>(to.x.data<T>() + to.begin, from.x.data<T>() + from.begin, from.x.numel() / x_width,
                    columns, y_width, x_width);
  });
}

}  // namespace tandem::cuda
