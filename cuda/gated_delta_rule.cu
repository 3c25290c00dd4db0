// The gated delta rule on the GPU, in chunks of kDeltaChunk steps (ops/gated_delta_rule.h has the equations). With W the
// solution of (1 + A) W = R_k, R_k having the rows beta_i e^L_i k_i, and U that of (1 + A) U = beta v, X is U - W S. So
// the long work is done for all chunks at once, and only two products a chunk wait for each other:
//
//     forward    1. solve_kernel      U and W of every chunk
//                2. states_kernel     X = U - W S, then the next S, chunk after chunk; each column of S by itself
//                3. outputs_kernel    o
//     backward   4. attended_kernel   P^T D of every chunk, D the gradient of o
//                5. carry_kernel      dX, then the gradient of S, chunk after chunk, going back
//                6. gradients_kernel  the gradients of the inputs (ops/gated_delta_rule.cpp has the formulas)
//
// The products are loops over shared or cached memory: tensor cores are not used.
#include "tandem/ops/gated_delta_rule.h"

#include "tandem/core/array.h"
#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {
namespace {

constexpr int kC = static_cast<int>(kDeltaChunk);
constexpr int kThreads = 128;
constexpr int kTile = 8;  // columns of S that a block of the kernels 2 and 5 carries
static_assert(kC == kWarp, "the lanes of a warp are the steps of a chunk in gradients_kernel");

// The inputs, and the results that one kernel hands to the next. The rows of a head lie B H times their width apart.
template <class T>
struct Args {
  using C = Compute<T>;
  int64_t steps, heads, dk, dv, chunks;  // heads: B H
  const T *q, *k, *v;
  const C *log_decay, *beta;
  C *states, *x;    // GatedDeltaKept
  C *sums, *w, *u;  // (T, B H): L; (T, B H dk): W; (T, B H dv): U, and in backward P^T D, dX and dR in turn
  C* gradients;     // (chunks, B H, dk dv): the gradient of the state after each chunk
};

// A chunk of a head.
template <class T>
struct Chunk {
  using C = Compute<T>;
  int64_t first;  // index of its first step and its head in (T, B H)
  int64_t step;   // from one step to the next: B H
  int64_t state;  // index of its state in (chunks, B H, dk dv)
  int count;      // time steps

  __device__ Chunk(const Args<T>& p, int64_t n, int64_t head)
      : first(n * kC * p.heads + head),
        step(p.heads),
        state((n * p.heads + head) * p.dk * p.dv),
        count(static_cast<int>(p.steps - n * kC < kC ? p.steps - n * kC : kC)) {}
  __device__ __forceinline__ int64_t at(int i) const { return first + i * step; }
};

template <class X, class Y>
__device__ __forceinline__ auto dot(const X* x, const Y* y, int64_t n) {
  using C = Compute<X>;
  C sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += static_cast<C>(x[j]) * static_cast<C>(y[j]);
  return sum;
}

// Reads L, beta and the products of a chunk into shared memory; every thread of the block calls it.
template <class C>
struct Shared {
  C sums[kC], beta[kC];
  C keys[kC][kC], queries[kC][kC];  // k_i . k_j and q_i . k_j, for j <= i

  template <class T>
  __device__ void load(const Args<T>& p, const Chunk<T>& chunk) {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < chunk.count) {
      C sum = 0;
      for (int i = 0; i <= thread; ++i) sum += p.log_decay[chunk.at(i)];
      sums[thread] = sum;
      beta[thread] = p.beta[chunk.at(thread)];
    }
    for (int e = thread; e < chunk.count * kC; e += kThreads) {
      const int i = e / kC, j = e % kC;
      if (j > i) continue;
      const T* const key = p.k + chunk.at(j) * p.dk;
      keys[i][j] = dot(p.k + chunk.at(i) * p.dk, key, p.dk);
      queries[i][j] = dot(p.q + chunk.at(i) * p.dk, key, p.dk);
    }
    __syncthreads();
  }
  __device__ __forceinline__ C weight(int i, int j) const { return fast_exp(sums[i] - sums[j]); }
  __device__ __forceinline__ C a(int i, int j) const { return beta[i] * keys[i][j] * weight(i, j); }
  __device__ __forceinline__ C p(int i, int j) const { return queries[i][j] * weight(i, j); }
};

// Kernel 1. A thread solves for one column of U or of W.
template <class T>
__global__ void __launch_bounds__(kThreads) solve_kernel(const Args<T> p) {
  using C = Compute<T>;
  __shared__ Shared<C> s;
  __shared__ C a[kC][kC];
  const Chunk<T> chunk(p, blockIdx.x, blockIdx.y);
  s.load(p, chunk);
  const int thread = static_cast<int>(threadIdx.x);
  for (int e = thread; e < chunk.count * kC; e += kThreads)
    if (e % kC < e / kC) a[e / kC][e % kC] = s.a(e / kC, e % kC);
  if (thread < chunk.count) p.sums[chunk.at(thread)] = s.sums[thread];
  __syncthreads();
  for (int64_t column = thread; column < p.dv + p.dk; column += kThreads) {
    const bool of_u = column < p.dv;
    C* const out = of_u ? p.u + column : p.w + (column - p.dv);
    const int64_t width = of_u ? p.dv : p.dk;
    for (int i = 0; i < chunk.count; ++i) {
      C row = of_u ? static_cast<C>(p.v[chunk.at(i) * p.dv + column])
                   : fast_exp(s.sums[i]) * static_cast<C>(p.k[chunk.at(i) * p.dk + column - p.dv]);
      row *= s.beta[i];
      for (int j = 0; j < i; ++j) row -= a[i][j] * out[chunk.at(j) * width];
      out[chunk.at(i) * width] = row;
    }
  }
}

// The columns of S that a block of the kernels 2 and 5 carries, in shared memory (dk, kTile).
template <class T>
struct Tile {
  using C = Compute<T>;
  int64_t head, first;
  int columns;
  C* s;

  __device__ explicit Tile(const Args<T>& p)
      : head(blockIdx.y),
        first(static_cast<int64_t>(blockIdx.x) * kTile),
        columns(static_cast<int>(p.dv - first < kTile ? p.dv - first : kTile)),
        s(dynamic_shared<C>()) {}
  // Calls f(row, column, element of the tile) for all of its elements that this thread has.
  template <class F>
  __device__ __forceinline__ void for_elements(int64_t rows, const F& f) const {
    for (int64_t e = threadIdx.x; e < rows * columns; e += kThreads)
      f(static_cast<int>(e / columns), first + e % columns, e % columns);
  }
};

// Kernel 2. `state` is (B H, dk dv): it enters as the first state and leaves as the last.
template <class T>
__global__ void __launch_bounds__(kThreads) states_kernel(Compute<T>* state, const Args<T> p) {
  using C = Compute<T>;
  const Tile<T> tile(p);
  C* const own = state + tile.head * p.dk * p.dv;
  tile.for_elements(p.dk, [&](int d, int64_t v, int64_t j) { tile.s[d * kTile + j] = own[d * p.dv + v]; });
  __syncthreads();
  for (int64_t n = 0; n < p.chunks; ++n) {
    const Chunk<T> chunk(p, n, tile.head);
    tile.for_elements(p.dk, [&](int d, int64_t v, int64_t j) {
      p.states[chunk.state + d * p.dv + v] = tile.s[d * kTile + j];
    });
    tile.for_elements(chunk.count, [&](int i, int64_t v, int64_t j) {
      const C* const w = p.w + chunk.at(i) * p.dk;
      C sum = p.u[chunk.at(i) * p.dv + v];
      for (int64_t d = 0; d < p.dk; ++d) sum -= w[d] * tile.s[d * kTile + j];
      p.x[chunk.at(i) * p.dv + v] = sum;
    });
    __syncthreads();
    const C last = p.sums[chunk.at(chunk.count - 1)];
    tile.for_elements(p.dk, [&](int d, int64_t v, int64_t j) {
      C sum = fast_exp(last) * tile.s[d * kTile + j];
      for (int i = 0; i < chunk.count; ++i)
        sum += fast_exp(last - p.sums[chunk.at(i)]) * static_cast<C>(p.k[chunk.at(i) * p.dk + d]) *
               p.x[chunk.at(i) * p.dv + v];
      tile.s[d * kTile + j] = sum;
    });
    __syncthreads();
  }
  tile.for_elements(p.dk, [&](int d, int64_t v, int64_t j) { own[d * p.dv + v] = tile.s[d * kTile + j]; });
}

// Kernel 3.
template <class T>
__global__ void __launch_bounds__(kThreads) outputs_kernel(T* o, const Args<T> p) {
  using C = Compute<T>;
  __shared__ Shared<C> s;
  const Chunk<T> chunk(p, blockIdx.x, blockIdx.y);
  s.load(p, chunk);
  for (int64_t e = threadIdx.x; e < chunk.count * p.dv; e += kThreads) {
    const int i = static_cast<int>(e / p.dv);
    const int64_t v = e % p.dv;
    const T* const query = p.q + chunk.at(i) * p.dk;
    C sum = 0;
    for (int64_t d = 0; d < p.dk; ++d) sum += static_cast<C>(query[d]) * p.states[chunk.state + d * p.dv + v];
    sum *= fast_exp(s.sums[i]);
    for (int j = 0; j <= i; ++j) sum += s.p(i, j) * p.x[chunk.at(j) * p.dv + v];
    o[chunk.at(i) * p.dv + v] = static_cast<T>(sum);
  }
}

// Kernel 4. It overwrites U, which is no longer needed.
template <class T>
__global__ void __launch_bounds__(kThreads) attended_kernel(const T* d_o, const Args<T> p) {
  using C = Compute<T>;
  __shared__ Shared<C> s;
  const Chunk<T> chunk(p, blockIdx.x, blockIdx.y);
  s.load(p, chunk);
  for (int64_t e = threadIdx.x; e < chunk.count * p.dv; e += kThreads) {
    const int j = static_cast<int>(e / p.dv);
    const int64_t v = e % p.dv;
    C sum = 0;
    for (int i = j; i < chunk.count; ++i) sum += s.p(i, j) * static_cast<C>(d_o[chunk.at(i) * p.dv + v]);
    p.u[chunk.at(j) * p.dv + v] = sum;
  }
}

// Kernel 5. `ds` is (B H, dk dv): it enters as the gradient of the last state and leaves as that of the first.
template <class T>
__global__ void __launch_bounds__(kThreads) carry_kernel(Compute<T>* ds, const T* d_o, const Args<T> p) {
  using C = Compute<T>;
  const Tile<T> tile(p);
  C* const own = ds + tile.head * p.dk * p.dv;
  tile.for_elements(p.dk, [&](int d, int64_t v, int64_t j) { tile.s[d * kTile + j] = own[d * p.dv + v]; });
  __syncthreads();
  for (int64_t n = p.chunks - 1; n >= 0; --n) {
    const Chunk<T> chunk(p, n, tile.head);
    const C last = p.sums[chunk.at(chunk.count - 1)];
    tile.for_elements(p.dk, [&](int d, int64_t v, int64_t j) {
      p.gradients[chunk.state + d * p.dv + v] = tile.s[d * kTile + j];
    });
    tile.for_elements(chunk.count, [&](int i, int64_t v, int64_t j) {
      const T* const key = p.k + chunk.at(i) * p.dk;
      C sum = 0;
      for (int64_t d = 0; d < p.dk; ++d) sum += static_cast<C>(key[d]) * tile.s[d * kTile + j];
      p.u[chunk.at(i) * p.dv + v] += fast_exp(last - p.sums[chunk.at(i)]) * sum;
    });
    __syncthreads();
    tile.for_elements(p.dk, [&](int d, int64_t v, int64_t j) {
      C sum = fast_exp(last) * tile.s[d * kTile + j];
      for (int i = 0; i < chunk.count; ++i) {
        const int64_t at = chunk.at(i);
        sum +=
            fast_exp(p.sums[at]) * static_cast<C>(p.q[at * p.dk + d]) * static_cast<C>(d_o[at * p.dv + v]) -
            p.w[at * p.dk + d] * p.u[at * p.dv + v];
      }
      tile.s[d * kTile + j] = sum;
    });
    __syncthreads();
  }
  tile.for_elements(p.dk, [&](int d, int64_t v, int64_t j) { own[d * p.dv + v] = tile.s[d * kTile + j]; });
}

template <class T>
struct Outputs {
  using C = Compute<T>;
  T *dq, *dk, *dv;
  C *dlog_decay, *dbeta;
};

// Kernel 6.
template <class T>
__global__ void __launch_bounds__(kThreads)
    gradients_kernel(const Outputs<T> out, const T* d_o, const Args<T> p) {
  using C = Compute<T>;
  __shared__ Shared<C> s;
  // The gradient of log_decay sums these terms: those of the pairs (i, j) with j < i, of e^L_i, and of e^(L_last - L_j).
  __shared__ C of_pairs[kC][kC], of_past[kC], of_state[kC];
  const Chunk<T> chunk(p, blockIdx.x, blockIdx.y);
  const int count = chunk.count, thread = static_cast<int>(threadIdx.x), warp = thread / kWarp,
            lane = thread % kWarp;
  s.load(p, chunk);

  // dR = (1 + A)^-T dX, column by column, in place; dv = beta dR.
  for (int64_t v = thread; v < p.dv; v += kThreads)
    for (int i = count - 1; i >= 0; --i) {
      C row = p.u[chunk.at(i) * p.dv + v];
      for (int j = i + 1; j < count; ++j) row -= s.a(j, i) * p.u[chunk.at(j) * p.dv + v];
      p.u[chunk.at(i) * p.dv + v] = row;
      out.dv[chunk.at(i) * p.dv + v] = static_cast<T>(s.beta[i] * row);
    }
  __syncthreads();

  // From here on `queries` holds dQK, and `keys` dA * W * K K^T below the diagonal and, above it, dA * W transposed.
  for (int e = thread; e < count * kC; e += kThreads) {
    const int i = e / kC, j = e % kC;
    if (j > i) continue;
    const C* const x = p.x + chunk.at(j) * p.dv;
    const C weight = s.weight(i, j);
    const C dquery = weight * dot(x, d_o + chunk.at(i) * p.dv, p.dv);
    const C da = j < i ? -weight * dot(x, p.u + chunk.at(i) * p.dv, p.dv) : C(0);
    of_pairs[i][j] = dquery * s.queries[i][j] + s.beta[i] * da * s.keys[i][j];
    s.queries[i][j] = dquery;
    if (j == i) continue;
    s.keys[j][i] = da;
    s.keys[i][j] *= da;
  }
  __syncthreads();

  const C* const state = p.states + chunk.state;
  const C* const gradient = p.gradients + chunk.state;
  C product = 0;  // of the state and of its gradient
  for (int64_t e = thread; e < p.dk * p.dv; e += kThreads) product += state[e] * gradient[e];
  product = block_sum<kThreads>(product);

  // A warp computes row i of dq and dk, and the terms of the gradients of log_decay and beta_i that come from their parts.
  const C last = s.sums[count - 1];
  for (int i = warp; i < count; i += kThreads / kWarp) {
    const int64_t at = chunk.at(i);
    const C from_begin = fast_exp(s.sums[i]), to_last = fast_exp(last - s.sums[i]);
    C past = 0, read = 0, moved = 0;
    for (int64_t d = lane; d < p.dk; d += kWarp) {
      C query = 0, key = 0, corrected = 0, own = 0;
      for (int64_t v = 0; v < p.dv; ++v) {
        const C element = state[d * p.dv + v];
        query += static_cast<C>(d_o[at * p.dv + v]) * element;
        corrected += p.u[at * p.dv + v] * element;
        key += p.x[at * p.dv + v] * gradient[d * p.dv + v];
      }
      query *= from_begin;
      key *= to_last;
      corrected *= from_begin;
      const C k = static_cast<C>(p.k[at * p.dk + d]), q = static_cast<C>(p.q[at * p.dk + d]);
      past += q * query;
      moved += k * key;
      read += k * corrected;
      for (int j = 0; j < count; ++j) {
        const C k_j = static_cast<C>(p.k[chunk.at(j) * p.dk + d]);
        if (j <= i) query += s.queries[i][j] * k_j;
        if (j >= i) key += s.queries[j][i] * static_cast<C>(p.q[chunk.at(j) * p.dk + d]);
        if (j < i) own += s.beta[i] * s.keys[j][i] * k_j;
        if (j > i) own += s.beta[j] * s.keys[i][j] * k_j;
      }
      out.dq[at * p.dk + d] = static_cast<T>(query);
      out.dk[at * p.dk + d] = static_cast<T>(key + own - s.beta[i] * corrected);
    }
    C dbeta = lane < i ? s.keys[i][lane] : C(0);
    for (int64_t v = lane; v < p.dv; v += kWarp)
      dbeta += p.u[at * p.dv + v] * static_cast<C>(p.v[at * p.dv + v]);
    read = warp_reduce(read, Sum());
    past = warp_reduce(past, Sum());
    dbeta = warp_reduce(dbeta, Sum());
    moved = warp_reduce(moved, Sum());
    if (lane > 0) continue;
    of_past[i] = past - s.beta[i] * read;
    of_state[i] = moved;
    out.dbeta[at] = dbeta - read;
  }
  __syncthreads();
  if (thread >= count) return;
  C sum = fast_exp(last) * product;
  for (int i = thread; i < count; ++i) {
    sum += of_past[i];
    for (int j = 0; j < thread; ++j) sum += of_pairs[i][j];
  }
  for (int j = 0; j < thread; ++j) sum += of_state[j];
  out.dlog_decay[chunk.at(thread)] = sum;
}

// The arguments, with memory for the results that one kernel hands to the next, and the launches.
template <class T>
struct Run {
  using C = Compute<T>;
  Tensor memory;
  Args<T> p;

  Run(const GatedDeltaInputs& in, const GatedDeltaKept& kept, bool back) {
    p.steps = in.steps();
    p.heads = in.batch() * in.heads();
    p.dk = in.d_key();
    p.dv = in.d_value();
    p.chunks = in.chunks();
    p.q = in.q.data<T>();
    p.k = in.k.data<T>();
    p.v = in.v.data<T>();
    p.log_decay = in.log_decay.data<C>();
    p.beta = in.beta.data<C>();
    p.states = kept.states.data<C>();
    p.x = kept.x.data<C>();
    const int64_t rows = p.steps * p.heads, states = back ? kept.states.numel() : 0;
    memory = Tensor({rows * (1 + p.dk + p.dv) + states}, dtype_of<C>(), in.q.device());
    p.sums = memory.data<C>();
    p.w = p.sums + rows;
    p.u = p.w + rows * p.dk;
    p.gradients = p.u + rows * p.dv;
  }
  template <class... Parameters, class... Arguments>
  void all(void (*kernel)(Parameters...), Arguments&&... arguments) const {
    const dim3 grid(static_cast<unsigned>(p.chunks), static_cast<unsigned>(p.heads));
    launch(kernel, grid, kThreads, 0, compute_stream(), arguments..., p);
  }
  template <class... Parameters, class... Arguments>
  void in_turn(void (*kernel)(Parameters...), Arguments&&... arguments) const {
    const dim3 grid(blocks_for(p.dv, kTile), static_cast<unsigned>(p.heads));
    launch(kernel, grid, kThreads, sizeof(C) * kTile * static_cast<size_t>(p.dk), compute_stream(),
           arguments..., p);
  }
};

}  // namespace

void gated_delta_rule_forward(const Tensor& o, const Tensor& state, const GatedDeltaKept& kept,
                              const GatedDeltaInputs& in) {
  copy_or_zeros(state, in.s0);
  dispatch_device_float(in.q.dtype(), "gated_delta_rule", [&]<class T>() {
    const Run<T> run(in, kept, false);
    run.all(solve_kernel<T>);
    run.in_turn(states_kernel<T>, state.data<Compute<T>>());
    run.all(outputs_kernel<T>, o.data<T>());
  });
}

void gated_delta_rule_backward(const GatedDeltaGrads& out, const Tensor& d_o, const Tensor& dstate,
                               const GatedDeltaKept& kept, const GatedDeltaInputs& in) {
  copy_or_zeros(out.ds0, dstate);
  const Tensor d = d_o.defined() ? d_o : zeros(in.v.shape(), in.v.dtype(), in.v.device());
  dispatch_device_float(in.q.dtype(), "gated_delta_rule", [&]<class T>() {
    using C = Compute<T>;
    const Run<T> run(in, kept, true);
    run.all(solve_kernel<T>);
    run.all(attended_kernel<T>, d.data<T>());
    run.in_turn(carry_kernel<T>, out.ds0.data<C>(), d.data<T>());
    run.all(gradients_kernel<T>,
            Outputs<T>{out.dq.data<T>(), out.dk.data<T>(), out.dv.data<T>(), out.dlog_decay.data<C>(),
                       out.dbeta.data<C>()},
            d.data<T>());
  });
}

}  // namespace tandem::cuda
