// The SRU recurrence on the GPU: a thread computes one column of one batch row over all time steps.
//
// Memory traffic at least: forward reads four planes and writes h and c, 6 T B D elements; backward reads the
// four, c and dh and writes four gradients, 10 T B D. For each thread 384 bytes are in flight in forward and
// 576 in backward, while the chain from c to c waits for exp and 1 / x.
#include "tandem/ops/sru_scan.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/scan.cuh"

namespace tandem::cuda {
namespace {

// The arguments that the forward and the backward kernel share.
template <class T>
struct ScanArgs {
  using C = Compute<T>;
  int64_t steps, columns, width;  // T, B D, D
  Rows<const T> u, skip;
  C skip_scale;
  const C *weight_c, *bias;  // (2, D): of the forget gate, of the reset gate
  const C *c0, *mask;        // (B, D), or null for zeros and ones

  __device__ __forceinline__ SruParameters<C> parameters(const Column& at) const {
    return {weight_c[at.j], weight_c[width + at.j], bias[at.j], bias[width + at.j],
            mask ? mask[at.at] : C(1)};
  }
  __device__ __forceinline__ C state(const Column& at) const { return c0 ? c0[at.at] : C(0); }
};

template <bool kTanh, bool kVectors, class T>
__global__ void __launch_bounds__(kWarp)
    forward_kernel(const Rows<T> h, const Rows<T> c, Compute<T>* c_last, const ScanArgs<T> p) {
  using C = Compute<T>;
  const Lane<T, kVectors> lane(p.columns);
  const Column mine(lane.column, p.width), source(lane.source, p.width);
  const SruParameters<C> w = p.parameters(mine);
  C state = p.state(mine);
  T *h_out = mine.in(h), *c_out = mine.in(c);

  const T* u = source.in(p.u) + lane.row * p.u.step;
  const T* skip = source.in(p.skip) + lane.row * p.skip.step;
  for_steps<0>(lane, {u, u + p.width, u + 2 * p.width, skip}, {p.u.step, p.u.step, p.u.step, p.skip.step},
               p.steps, [&](const auto& value, bool) {
                 const SruOutput<C> out = sru_step<kTanh>(
                     SruInput<C>{value(0), value(1), value(2), p.skip_scale * value(3), state}, w);
                 state = out.c;
                 *h_out = static_cast<T>(out.h);
                 *c_out = static_cast<T>(out.c);
                 h_out += h.step;
                 c_out += c.step;
               });
  c_last[mine.at] = state;
}

template <class T>
struct Gradients {
  using C = Compute<T>;
  Rows<T> du, dskip;
  C* dc0;   // (B, D)
  C* sums;  // (B, 4, D): dv_f, dv_r, db_f, db_r of each batch row
};

// ops/scan_cpu/sru_blocks.cpp has the formulas. All rows begin with the last time step.
template <bool kTanh, bool kVectors, class T>
__global__ void __launch_bounds__(kWarp)
    backward_kernel(const Gradients<T> out, const Rows<const T> dh, const Compute<T>* dc_last,
                    const Rows<const T> c, const ScanArgs<T> p) {
  using C = Compute<T>;
  const Lane<T, kVectors> lane(p.columns);
  const Column mine(lane.column, p.width), source(lane.source, p.width);
  const SruParameters<C> w = p.parameters(mine);
  const C c0 = p.state(mine);
  C carry = dc_last ? dc_last[mine.at] : C(0);
  C after = static_cast<C>(*mine.in(c));
  C dv_f = 0, dv_r = 0, db_f = 0, db_r = 0;
  T *du = mine.in(out.du), *dskip = mine.in(out.dskip);

  const T* u = source.in(p.u) + lane.row * p.u.step;
  const T* skip = source.in(p.skip) + lane.row * p.skip.step;
  const T* dh_in = source.in(dh) + lane.row * dh.step;
  const T* before_in = source.in(c) + (lane.row + 1) * c.step;
  for_steps<1>(lane, {u, u + p.width, u + 2 * p.width, skip, dh_in, before_in},
               {p.u.step, p.u.step, p.u.step, p.skip.step, dh.step, c.step}, p.steps,
               [&](const auto& value, bool last) {
                 const C read = value(5), before = last ? c0 : read;
                 const SruInputGrad<C> d = sru_step_backward<kTanh>(
                     SruInput<C>{value(0), value(1), value(2), p.skip_scale * value(3), before}, w, after,
                     value(4), carry);
                 carry = d.c_before;
                 after = before;
                 du[0] = static_cast<T>(d.candidate);
                 du[p.width] = static_cast<T>(d.forget);
                 du[2 * p.width] = static_cast<T>(d.reset);
                 *dskip = static_cast<T>(p.skip_scale * d.skip);
                 dv_f += d.forget * before;
                 dv_r += d.reset * before;
                 db_f += d.forget;
                 db_r += d.reset;
                 du += out.du.step;
                 dskip += out.dskip.step;
               });
  out.dc0[mine.at] = carry;
  C* sums = out.sums + 4 * mine.b * p.width + mine.j;
  sums[0] = dv_f;
  sums[p.width] = dv_r;
  sums[2 * p.width] = db_f;
  sums[3 * p.width] = db_r;
}

// The memory that receives the gradient of a parameter; null if it is not wanted.
template <class C>
struct Target {
  C* grad;
  bool accumulate;
};

// Sets the targets (n each) to the two halves of the sums (B, 2 n) over the batch, in order of b, or adds
// them.
template <class C>
__global__ void __launch_bounds__(kMapThreads)
    sum_over_batch_kernel(const Target<C> dweight_c, const Target<C> dbias, const C* sums, int64_t batch,
                          int64_t n) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kMapThreads + threadIdx.x;
  if (i >= 2 * n) return;
  const Target<C> target = i < n ? dweight_c : dbias;
  if (!target.grad) return;
  C* y = target.grad + i % n;
  C total = target.accumulate ? *y : C(0);
#pragma unroll 4
  for (int64_t b = 0; b < batch; ++b) total += sums[b * 2 * n + i];
  *y = total;
}

template <class C>
Target<C> target_of(const GradTarget& target) {
  return {target.grad.defined() ? target.grad.data<C>() : nullptr, target.accumulate};
}

bool is_four(const SruScanInputs& in) {
  return in.u.size(2) == 2 * in.weight_c.numel();
}
Shape row_shape(const SruScanInputs& in) {
  return {in.u.size(1), in.weight_c.numel() / 2};
}

template <class T>
ScanArgs<T> args_of(const SruScanInputs& in, const Tensor& skip) {
  using C = Compute<T>;
  const int64_t width = in.weight_c.numel() / 2;
  return {.steps = in.u.size(0),
          .columns = in.u.size(1) * width,
          .width = width,
          .u = rows_of<const T>(in.u),
          .skip = rows_of<const T>(skip, is_four(in) ? 3 * width : 0),
          .skip_scale = is_four(in) ? C(1) : static_cast<C>(in.rescale),
          .weight_c = in.weight_c.data<C>(),
          .bias = in.bias.data<C>(),
          .c0 = data_or_null<C>(in.c0),
          .mask = data_or_null<C>(in.mask)};
}

template <class T>
void forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const SruScanInputs& in) {
  const Shape row = row_shape(in);
  const Tensor skip = is_four(in) ? in.u : or_zeros(in.x, row, in.u), states = or_scratch(c, row, in.u);
  const ScanArgs<T> p = args_of<T>(in, skip);
  const auto run = [&](auto kernel) {
    launch(kernel, blocks_for(p.columns, kWarp), kWarp, 0, compute_stream(), rows_of<T>(h),
           rows_of<T>(states), c_last.data<Compute<T>>(), p);
  };
  if (takes_vectors<T>(p.width, p.u, p.skip))
    run(in.tanh ? forward_kernel<true, true, T> : forward_kernel<false, true, T>);
  else
    run(in.tanh ? forward_kernel<true, false, T> : forward_kernel<false, false, T>);
}

template <class T>
void backward(const Tensor& du, const Tensor& dx, const Tensor& dc0, const GradTarget& dweight_c,
              const GradTarget& dbias, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
              const SruScanInputs& in) {
  using C = Compute<T>;
  const Shape row = row_shape(in);
  const Tensor skip = is_four(in) ? in.u : or_zeros(in.x, row, in.u);
  const Tensor dskip = is_four(in) ? du : or_scratch(dx, row, in.u), dy = or_zeros(dh, row, in.u);
  ScanArgs<T> p = args_of<T>(in, skip);
  const int64_t batch = in.u.size(1), n = 2 * p.width;
  const Tensor sums({batch, 2 * n}, dtype_of<C>(), in.u.device());
  p.u = backwards(p.u, p.steps);
  p.skip = backwards(p.skip, p.steps);
  const Rows<const T> dh_rows = backwards(rows_of<const T>(dy), p.steps);
  const Rows<const T> c_rows = backwards(rows_of<const T>(c), p.steps);
  const Gradients<T> out{.du = backwards(rows_of<T>(du), p.steps),
                         .dskip = backwards(rows_of<T>(dskip, is_four(in) ? 3 * p.width : 0), p.steps),
                         .dc0 = dc0.data<C>(),
                         .sums = sums.data<C>()};
  const auto run = [&](auto kernel) {
    launch(kernel, blocks_for(p.columns, kWarp), kWarp, 0, compute_stream(), out, dh_rows,
           data_or_null<C>(dc_last), c_rows, p);
  };
  if (takes_vectors<T>(p.width, p.u, p.skip, dh_rows, c_rows))
    run(in.tanh ? backward_kernel<true, true, T> : backward_kernel<false, true, T>);
  else
    run(in.tanh ? backward_kernel<true, false, T> : backward_kernel<false, false, T>);
  launch(sum_over_batch_kernel<C>, blocks_for(2 * n, kMapThreads), kMapThreads, 0, compute_stream(),
         target_of<C>(dweight_c), target_of<C>(dbias), sums.data<C>(), batch, n);
}

}  // namespace

void sru_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const SruScanInputs& in) {
  dispatch_device_float(in.u.dtype(), "sru_scan", [&]<class T>() { forward<T>(h, c, c_last, in); });
}

void sru_scan_backward(const Tensor& du, const Tensor& dx, const Tensor& dc0, const GradTarget& dweight_c,
                       const GradTarget& dbias, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
                       const SruScanInputs& in) {
  dispatch_device_float(in.u.dtype(), "sru_scan",
                        [&]<class T>() { backward<T>(du, dx, dc0, dweight_c, dbias, dh, dc_last, c, in); });
}

}  // namespace tandem::cuda
