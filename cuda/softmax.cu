// softmax over the last axis, of whole rows or of the part that a causal mask leaves visible.
//
// Memory traffic at least: forward reads x and writes y, backward reads dy and y and writes dx, once each;
// masked elements are only written. Loads have 16 bytes wherever the rows are aligned to 16 bytes.
#include "tandem/ops/softmax.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/softmax.cuh"

namespace tandem::cuda {
namespace {

// The rows of either direction. Row r is query r % queries of its matrix; if `queries` is 0, there is no
// mask.
struct Rows {
  int64_t count, columns, queries;
  CausalMask mask;

  __device__ VisibleColumns<int64_t> visible(int64_t row) const {
    if (queries == 0) return {0, columns};
    const int64_t query = row % queries;
    return {mask.begin(query), mask.end(query)};
  }
};

struct NoFactors {
  template <class Index, class C, int N>
  __device__ void operator()(Index, C (&f)[N]) const {
#pragma unroll
    for (int k = 0; k < N; ++k) f[k] = 1;
  }
};

template <class T>
struct Forward : Rows {
  T* y;
  const T* x;

  template <class Shape>
  __device__ void run(int64_t row) const {
    const auto load = [from = x + row * columns](auto column) {
      return load_vector<T, Shape::kWidth>(from + column);
    };
    softmax_row<Shape, T>(y + row * columns, load, visible(row), columns, Compute<T>(1), NoFactors());
  }
};

// y = softmax(x):  dx = y (dy - sum(dy y)).
template <class T>
struct Backward : Rows {
  T* dx;
  const T* dy;
  const T* y;

  template <class Shape>
  __device__ void run(int64_t row) const {
    using C = Compute<T>;
    using Index = typename Shape::Index;
    constexpr int N = Shape::kWidth;
    const VisibleColumns<Index> see(visible(row));
    const int64_t at = row * columns;
    Vec<T, N> g[Shape::kStored], p[Shape::kStored];
    const auto load = [&](int i, Index column) {
      g[i] = p[i] = {};
      if (!see.has_some(column, N)) return;
      g[i] = load_vector<T, N>(dy + at + column);
      p[i] = load_vector<T, N>(y + at + column);
#pragma unroll
      for (int k = 0; k < N; ++k)
        if (!see.has(column + k)) g[i].v[k] = p[i].v[k] = T{};
    };

    C dot = 0;
    for_chunks<Shape>(columns, [&](int i, Index column) {
      load(i, column);
#pragma unroll
      for (int k = 0; k < N; ++k) dot += static_cast<C>(g[i].v[k]) * static_cast<C>(p[i].v[k]);
    });
    dot = block_sum<Shape::kThreads>(dot);
    if (dot - dot != 0) {  // masked elements are 0 even in a row that is not finite
      for (Index column = threadIdx.x; column < columns; column += Shape::kThreads)
        dx[at + column] = static_cast<T>(see.has(column) ? dot - dot : C(0));
      return;
    }
    for_chunks<Shape>(columns, [&](int i, Index column) {
      if (column >= columns) return;
      if constexpr (!Shape::kHeld) load(i, column);
      Vec<T, N> out;
#pragma unroll
      for (int k = 0; k < N; ++k)
        out.v[k] = static_cast<T>(static_cast<C>(p[i].v[k]) * (static_cast<C>(g[i].v[k]) - dot));
      store_vector(dx + at + column, out);
    });
  }
};

template <class T>
struct LogForward {
  int64_t count, columns;
  T* y;
  const T* x;

  template <class Shape>
  __device__ void run(int64_t row) const {
    using C = Compute<T>;
    constexpr int N = Shape::kWidth;
    const RowChunks<T, Shape> values(x + row * columns, columns);
    C largest = -HUGE_VALF;
    for_chunks_within<Shape>(columns, [&](int i, auto column) {
      const Vec<C, N> v = converted<C>(values.at(i, column));
#pragma unroll
      for (int k = 0; k < N; ++k) largest = std::fmax(v.v[k], largest);  // NaN shows in the sum
    });
    largest = block_max<Shape::kThreads>(largest);
    C total = 0;
    for_chunks_within<Shape>(columns, [&](int i, auto column) {
      const Vec<C, N> v = converted<C>(values.at(i, column));
#pragma unroll
      for (int k = 0; k < N; ++k) total += fast_exp(v.v[k] - largest);
    });
    const C shift = std::log(block_sum<Shape::kThreads>(total));
    for_chunks_within<Shape>(columns, [&](int i, auto column) {
      Vec<C, N> v = converted<C>(values.at(i, column));
#pragma unroll
      for (int k = 0; k < N; ++k) v.v[k] = (v.v[k] - largest) - shift;
      store_vector(y + row * columns + column, converted<T>(v));
    });
  }
};

// y = log softmax(x):  dx = dy - exp(y) sum(dy).
template <class T>
struct LogBackward {
  int64_t count, columns;
  T* dx;
  const T* dy;
  const T* y;

  template <class Shape>
  __device__ void run(int64_t row) const {
    using C = Compute<T>;
    constexpr int N = Shape::kWidth;
    const RowChunks<T, Shape> gradients(dy + row * columns, columns), logarithms(y + row * columns, columns);
    C sum = 0;
    for_chunks_within<Shape>(columns, [&](int i, auto column) {
      const Vec<C, N> g = converted<C>(gradients.at(i, column));
#pragma unroll
      for (int k = 0; k < N; ++k) sum += g.v[k];
    });
    sum = block_sum<Shape::kThreads>(sum);
    for_chunks_within<Shape>(columns, [&](int i, auto column) {
      Vec<C, N> g = converted<C>(gradients.at(i, column));
      const Vec<C, N> p = converted<C>(logarithms.at(i, column));
#pragma unroll
      for (int k = 0; k < N; ++k) g.v[k] -= fast_exp(p.v[k]) * sum;
      store_vector(dx + row * columns + column, converted<T>(g));
    });
  }
};

template <class T, class Direction>
void run(const Direction& direction, bool aligned) {
  if (aligned && direction.columns % kVector<T> == 0)
    launch_rows<kVector<T>>(direction, direction.columns);
  else
    launch_rows<1>(direction, direction.columns);
}

void forward(const Tensor& y, const Tensor& x, int64_t queries, CausalMask mask) {
  if (x.numel() == 0) return;
  const Rows rows{x.numel() / x.size(-1), x.size(-1), queries, mask};
  dispatch_device_float(x.dtype(), "softmax", [&]<class T>() {
    run<T>(Forward<T>{rows, y.data<T>(), x.data<T>()}, is_aligned(y.raw()) && is_aligned(x.raw()));
  });
}

void backward(const Tensor& dx, const Tensor& dy, const Tensor& y, int64_t queries, CausalMask mask) {
  if (y.numel() == 0) return;
  const Rows rows{y.numel() / y.size(-1), y.size(-1), queries, mask};
  dispatch_device_float(y.dtype(), "softmax", [&]<class T>() {
    run<T>(Backward<T>{rows, dx.data<T>(), dy.data<T>(), y.data<T>()},
           is_aligned(dx.raw()) && is_aligned(dy.raw()) && is_aligned(y.raw()));
  });
}

}  // namespace

void softmax_forward(const Tensor& y, const Tensor& x) {
  forward(y, x, 0, {});
}

void softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y) {
  backward(dx, dy, y, 0, {});
}

void log_softmax_forward(const Tensor& y, const Tensor& x) {
  if (x.numel() == 0) return;
  const int64_t columns = x.size(-1), rows = x.numel() / columns;
  dispatch_device_float(x.dtype(), "log_softmax", [&]<class T>() {
    run<T>(LogForward<T>{rows, columns, y.data<T>(), x.data<T>()},
           is_aligned(y.raw()) && is_aligned(x.raw()));
  });
}

void log_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y) {
  if (y.numel() == 0) return;
  const int64_t columns = y.size(-1), rows = y.numel() / columns;
  dispatch_device_float(y.dtype(), "log_softmax", [&]<class T>() {
    run<T>(LogBackward<T>{rows, columns, dx.data<T>(), dy.data<T>(), y.data<T>()},
           is_aligned(dx.raw()) && is_aligned(dy.raw()) && is_aligned(y.raw()));
  });
}

void masked_softmax_forward(const Tensor& y, const Tensor& x, CausalMask mask) {
  forward(y, x, x.size(-2), mask);
}

void masked_softmax_backward(const Tensor& dx, const Tensor& dy, const Tensor& y, CausalMask mask) {
  backward(dx, dy, y, y.size(-2), mask);
}

}  // namespace tandem::cuda
