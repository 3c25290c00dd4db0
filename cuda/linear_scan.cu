// The linear recurrence on the GPU, parallel in time: h_t = a_t h_{t-1} + b_t maps the state before a chunk of
// steps to the state after it by h -> A h + S, where A is the product of the chunk's a and S the state that it
// reaches from zeros. So three kernels compute
//
//     1. A and S of every chunk, all at once
//     2. the state that enters each chunk, column by column, over the few chunks
//     3. all states, each chunk from the state that enters it, all at once
//
// Backward is the same recurrence with time reversed: carry = a_t (carry + dh_t). A thread computes one column of
// one chunk, and neighbouring threads have neighbouring columns. Memory traffic at least: forward reads p and q
// twice and writes h, 5 T B D elements; backward reads p and dh twice, q and h once and writes dp and dq, 8 T B D.
#include "tandem/ops/linear_scan.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/kernel.cuh"
#include "tandem/ops/support/data_or_null.h"

namespace tandem::cuda {
namespace {

// Time steps of a chunk. With 4,096 columns and 512 steps there are 65,536 threads.
constexpr int64_t kChunk = 32;
constexpr int kThreads = 128;

template <class T>
struct ScanArgs {
  using C = Compute<T>;
  int64_t steps, columns, chunks;  // columns: B D
  const T *p, *q;
  const C* h0;   // (B, D), or null at the beginning of a text
  C *decay, *s;  // (chunks, B, D): A and S of each chunk; then s is the state that enters it

  __device__ __forceinline__ C first(int64_t t) const { return t == 0 && !h0 ? C(1) : C(0); }
};

// A thread's column and the steps of its chunk, begin .. end - 1.
struct Place {
  int64_t column, chunk, begin, end;
  template <class T>
  __device__ explicit Place(const ScanArgs<T>& args)
      : column(static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x),
        chunk(blockIdx.y),
        begin(chunk * kChunk),
        end(begin + kChunk < args.steps ? begin + kChunk : args.steps) {}
};

// Kernel 1, forward.
template <ScanForm kForm, class T>
__global__ void __launch_bounds__(kThreads) chunk_kernel(const ScanArgs<T> args) {
  using C = Compute<T>;
  const Place at(args);
  if (at.column >= args.columns) return;
  C decay = 1, s = 0;
  for (int64_t t = at.begin; t < at.end; ++t) {
    const int64_t i = t * args.columns + at.column;
    const ScanCoefficients<C> c =
        scan_coefficients<kForm>(static_cast<C>(args.p[i]), static_cast<C>(args.q[i]), args.first(t));
    decay *= c.a;
    s = c.a * s + c.b;
  }
  args.decay[at.chunk * args.columns + at.column] = decay;
  args.s[at.chunk * args.columns + at.column] = s;
}

// Kernel 1, backward: the carry that leaves a chunk at its beginning is A times the one that enters at its end, plus S.
template <ScanForm kForm, class T>
__global__ void __launch_bounds__(kThreads) chunk_backward_kernel(const ScanArgs<T> args, const T* dh) {
  using C = Compute<T>;
  const Place at(args);
  if (at.column >= args.columns) return;
  C decay = 1, s = 0;
  for (int64_t t = at.end - 1; t >= at.begin; --t) {
    const int64_t i = t * args.columns + at.column;
    const C a = scan_decay<kForm>(static_cast<C>(args.p[i]));
    decay *= a;
    s = a * (s + (dh ? static_cast<C>(dh[i]) : C(0)));
  }
  args.decay[at.chunk * args.columns + at.column] = decay;
  args.s[at.chunk * args.columns + at.column] = s;
}

// Kernel 2: replaces S of each chunk by the state that enters it. `from` enters the first chunk or, with kBack, the last
// one; null stands for zeros. The last value goes to `end`.
template <bool kBack, class T>
__global__ void __launch_bounds__(kThreads)
    carry_kernel(Compute<T>* end, const ScanArgs<T> args, const Compute<T>* from) {
  using C = Compute<T>;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= args.columns) return;
  C state = from ? from[column] : C(0);
  for (int64_t n = 0; n < args.chunks; ++n) {
    const int64_t i = (kBack ? args.chunks - 1 - n : n) * args.columns + column;
    const C after = args.decay[i] * state + args.s[i];
    args.s[i] = state;
    state = after;
  }
  end[column] = state;
}

// Kernel 3, forward.
template <ScanForm kForm, class T>
__global__ void __launch_bounds__(kThreads) states_kernel(T* h, const ScanArgs<T> args) {
  using C = Compute<T>;
  const Place at(args);
  if (at.column >= args.columns) return;
  C state = args.s[at.chunk * args.columns + at.column];
  for (int64_t t = at.begin; t < at.end; ++t) {
    const int64_t i = t * args.columns + at.column;
    const ScanCoefficients<C> c =
        scan_coefficients<kForm>(static_cast<C>(args.p[i]), static_cast<C>(args.q[i]), args.first(t));
    state = c.a * state + c.b;
    h[i] = static_cast<T>(state);
  }
}

// Kernel 3, backward; ops/linear_scan.cpp has the formulas.
template <ScanForm kForm, class T>
__global__ void __launch_bounds__(kThreads)
    gradients_kernel(T* dp, T* dq, const ScanArgs<T> args, const T* dh, const T* h) {
  using C = Compute<T>;
  const Place at(args);
  if (at.column >= args.columns) return;
  C carry = args.s[at.chunk * args.columns + at.column];
  for (int64_t t = at.end - 1; t >= at.begin; --t) {
    const int64_t i = t * args.columns + at.column;
    C before = 0;
    if (t > 0)
      before = static_cast<C>(h[i - args.columns]);
    else if (args.h0)
      before = args.h0[at.column];
    const C arriving = carry + (dh ? static_cast<C>(dh[i]) : C(0));
    const ScanInputGrad<C> d = scan_backward<kForm>(static_cast<C>(args.p[i]), static_cast<C>(args.q[i]),
                                                    args.first(t), before, arriving);
    dp[i] = static_cast<T>(d.p);
    dq[i] = static_cast<T>(d.q);
    carry = d.h_before;
  }
}

// The arguments, with memory for the chunks, and the grids of the kernels.
template <class T>
struct Scan {
  using C = Compute<T>;
  Tensor memory;
  ScanArgs<T> args;

  explicit Scan(const LinearScanInputs& in) {
    args.steps = in.p.size(0);
    args.columns = in.p.size(1) * in.p.size(2);
    args.chunks = (args.steps + kChunk - 1) / kChunk;
    memory = Tensor({2, args.chunks, args.columns}, dtype_of<C>(), in.p.device());
    args.p = in.p.data<T>();
    args.q = in.q.data<T>();
    args.h0 = data_or_null<C>(in.h0);
    args.decay = memory.data<C>();
    args.s = args.decay + args.chunks * args.columns;
  }
  dim3 columns() const { return blocks_for(args.columns, kThreads); }
  dim3 all() const { return {blocks_for(args.columns, kThreads), static_cast<unsigned>(args.chunks)}; }
};

template <ScanForm kForm, class T>
void forward(const Tensor& h, const Tensor& h_last, const LinearScanInputs& in) {
  using C = Compute<T>;
  const Scan<T> scan(in);
  launch(chunk_kernel<kForm, T>, scan.all(), kThreads, 0, compute_stream(), scan.args);
  launch(carry_kernel<false, T>, scan.columns(), kThreads, 0, compute_stream(), h_last.data<C>(), scan.args,
         scan.args.h0);
  launch(states_kernel<kForm, T>, scan.all(), kThreads, 0, compute_stream(), h.data<T>(), scan.args);
}

template <ScanForm kForm, class T>
void backward(const Tensor& dp, const Tensor& dq, const Tensor& dh0, const Tensor& dh, const Tensor& dh_last,
              const Tensor& h, const LinearScanInputs& in) {
  using C = Compute<T>;
  const Scan<T> scan(in);
  const T* const arriving = data_or_null<const T>(dh);
  launch(chunk_backward_kernel<kForm, T>, scan.all(), kThreads, 0, compute_stream(), scan.args, arriving);
  launch(carry_kernel<true, T>, scan.columns(), kThreads, 0, compute_stream(), dh0.data<C>(), scan.args,
         data_or_null<const C>(dh_last));
  launch(gradients_kernel<kForm, T>, scan.all(), kThreads, 0, compute_stream(), dp.data<T>(), dq.data<T>(),
         scan.args, arriving, h.data<T>());
}

// Calls f.operator()<kForm>().
template <class F>
void with_form(ScanForm form, const F& f) {
  switch (form) {
    case ScanForm::coefficients:
      return f.template operator()<ScanForm::coefficients>();
    case ScanForm::min_gru:
      return f.template operator()<ScanForm::min_gru>();
    case ScanForm::rg_lru:
      return f.template operator()<ScanForm::rg_lru>();
  }
}

}  // namespace

void linear_scan_forward(const Tensor& h, const Tensor& h_last, const LinearScanInputs& in) {
  dispatch_device_float(h.dtype(), "linear_scan", [&]<class T>() {
    with_form(in.form, [&]<ScanForm kForm>() { forward<kForm, T>(h, h_last, in); });
  });
}

void linear_scan_backward(const Tensor& dp, const Tensor& dq, const Tensor& dh0, const Tensor& dh,
                          const Tensor& dh_last, const Tensor& h, const LinearScanInputs& in) {
  dispatch_device_float(h.dtype(), "linear_scan", [&]<class T>() {
    with_form(in.form, [&]<ScanForm kForm>() { backward<kForm, T>(dp, dq, dh0, dh, dh_last, h, in); });
  });
}

}  // namespace tandem::cuda
