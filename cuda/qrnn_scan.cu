// The pooling of the QRNN on the GPU: one thread a column of one batch row, over all time steps.
//
// Memory's floor, for fo pooling: forward reads three planes and writes h and c, 5 T B D elements; backward
// reads the three, c and dh and writes three gradients, 8 T B D. The gates do not wait for the state, and
// from one state to the next is a single multiplication with addition.
#include "ops/qrnn_scan.h"

#include "core/dispatch.h"
#include "cuda/device/dropout.cuh"
#include "cuda/device/scan.cuh"

namespace tandem::cuda {
namespace {

// What both directions read.
template <class T>
struct ScanArgs {
  using C = Compute<T>;
  int64_t steps, columns, width;
  Rows<const T> u;
  const C* c0;            // or null
  C zone;                 // factor of all updates, where none is drawn
  DeviceDropout zoneout;  // draws it

  __device__ __forceinline__ C state(const Column& at) const { return c0 ? c0[at.at] : C(0); }
};

// The factor of a column's update at one time step after the other, from element `at` of (T, B, D) on.
template <bool kDraws, class T>
struct Zone {
  const ScanArgs<T>& p;
  int64_t at, step;
  DropoutKey key;

  __device__ Zone(const ScanArgs<T>& p, int64_t at, int64_t step)
      : p(p), at(at), step(step), key(kDraws ? current_key(p.zoneout) : DropoutKey()) {}
  __device__ __forceinline__ Compute<T> next() {
    if constexpr (!kDraws) return p.zone;
    const Compute<T> factor = one_factor<Compute<T>>(p.zoneout, key, at);
    at += step;
    return factor;
  }
};

// value(k) is the element of plane k.
template <QrnnPooling kPooling, class C, class Value>
__device__ __forceinline__ QrnnInput<C> input_of(const Value& value, C zone, C c_before) {
  QrnnInput<C> in{value(0), value(1), C(0), C(0), zone, c_before};
  if constexpr (qrnn_planes(kPooling) > 2) in.output = value(2);
  if constexpr (qrnn_planes(kPooling) > 3) in.input = value(3);
  return in;
}

template <QrnnPooling kPooling, bool kDraws, bool kVectors, class T>
__global__ void __launch_bounds__(kWarp)
    forward_kernel(const Rows<T> h, const Rows<T> c, Compute<T>* c_last, const ScanArgs<T> p) {
  using C = Compute<T>;
  constexpr int kPlanes = qrnn_planes(kPooling);
  const Lane<T, kVectors> lane(p.columns);
  const Column mine(lane.column, p.width), source(lane.source, p.width);
  Zone<kDraws, T> zone(p, mine.at, p.columns);
  C state = p.state(mine);
  T *h_out = mine.in(h), *c_out = mine.in(c);

  const T* from[kPlanes];
  int64_t strides[kPlanes];
#pragma unroll
  for (int k = 0; k < kPlanes; ++k) {
    from[k] = source.in(p.u) + lane.row * p.u.step + k * p.width;
    strides[k] = p.u.step;
  }
  for_steps<0>(lane, from, strides, p.steps, [&](const auto& value, bool) {
    const QrnnOutput<C> out = qrnn_step<kPooling>(input_of<kPooling>(value, zone.next(), state));
    state = out.c;
    *h_out = static_cast<T>(out.h);
    h_out += h.step;
    if constexpr (kPooling != QrnnPooling::f) {  // whose h is c
      *c_out = static_cast<T>(out.c);
      c_out += c.step;
    }
  });
  c_last[mine.at] = state;
}

// The formulas stand in ops/qrnn_scan.cpp. All rows begin with the last time step.
template <QrnnPooling kPooling, bool kDraws, bool kVectors, class T>
__global__ void __launch_bounds__(kWarp)
    backward_kernel(const Rows<T> du, Compute<T>* dc0, const Rows<const T> dh, const Compute<T>* dc_last,
                    const Rows<const T> c, const ScanArgs<T> p) {
  using C = Compute<T>;
  constexpr int kPlanes = qrnn_planes(kPooling);
  const Lane<T, kVectors> lane(p.columns);
  const Column mine(lane.column, p.width), source(lane.source, p.width);
  Zone<kDraws, T> zone(p, mine.at + (p.steps - 1) * p.columns, -p.columns);
  const C c0 = p.state(mine);
  C carry = dc_last ? dc_last[mine.at] : C(0);
  C after = static_cast<C>(*mine.in(c));
  T* du_out = mine.in(du);

  const T* from[kPlanes + 2];
  int64_t strides[kPlanes + 2];
#pragma unroll
  for (int k = 0; k < kPlanes; ++k) {
    from[k] = source.in(p.u) + lane.row * p.u.step + k * p.width;
    strides[k] = p.u.step;
  }
  from[kPlanes] = source.in(dh) + lane.row * dh.step;
  strides[kPlanes] = dh.step;
  from[kPlanes + 1] = source.in(c) + (lane.row + 1) * c.step;
  strides[kPlanes + 1] = c.step;
  for_steps<1>(lane, from, strides, p.steps, [&](const auto& value, bool last) {
    const C read = value(kPlanes + 1), before = last ? c0 : read;
    const QrnnInputGrad<C> d = qrnn_step_backward<kPooling>(input_of<kPooling>(value, zone.next(), before),
                                                            after, value(kPlanes), carry);
    carry = d.c_before;
    after = before;
    du_out[0] = static_cast<T>(d.candidate);
    du_out[p.width] = static_cast<T>(d.forget);
    if constexpr (kPlanes > 2) du_out[2 * p.width] = static_cast<T>(d.output);
    if constexpr (kPlanes > 3) du_out[3 * p.width] = static_cast<T>(d.input);
    du_out += du.step;
  });
  dc0[mine.at] = carry;
}

template <class T>
ScanArgs<T> problem_of(const QrnnScanInputs& in) {
  using C = Compute<T>;
  const QrnnScanOptions& options = in.options;
  const int64_t width = in.u.size(2) / qrnn_planes(options.pooling);
  DeviceDropout zoneout = DeviceDropout::with(options.zoneout, options.key);
  zoneout.kept = 1;  // zoneout does not rescale
  return {.steps = in.u.size(0),
          .columns = in.u.size(1) * width,
          .width = width,
          .u = rows_of<const T>(in.u),
          .c0 = data_or_null<C>(in.c0),
          .zone = static_cast<C>(options.training ? 1 : 1 - options.zoneout),
          .zoneout = zoneout};
}

// f.template operator()<pooling, draws, vectors>() for those of the problem.
template <class F>
void choose(const QrnnScanOptions& options, bool vectors, const F& f) {
  const auto with_pooling = [&]<QrnnPooling kPooling>() {
    if (options.draws())
      vectors ? f.template operator()<kPooling, true, true>()
              : f.template operator()<kPooling, true, false>();
    else
      vectors ? f.template operator()<kPooling, false, true>()
              : f.template operator()<kPooling, false, false>();
  };
  switch (options.pooling) {
    case QrnnPooling::f:
      return with_pooling.template operator()<QrnnPooling::f>();
    case QrnnPooling::fo:
      return with_pooling.template operator()<QrnnPooling::fo>();
    case QrnnPooling::ifo:
      return with_pooling.template operator()<QrnnPooling::ifo>();
  }
}

template <class T>
void forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const QrnnScanInputs& in) {
  const Tensor states = or_scratch(c, c_last.shape(), h);
  const ScanArgs<T> p = problem_of<T>(in);
  choose(in.options, takes_vectors<T>(p.width, p.u), [&]<QrnnPooling kPooling, bool kDraws, bool kVectors>() {
    launch(forward_kernel<kPooling, kDraws, kVectors, T>, blocks_for(p.columns, kWarp), kWarp, 0,
           compute_stream(), rows_of<T>(h), rows_of<T>(states), c_last.data<Compute<T>>(), p);
  });
}

template <class T>
void backward(const Tensor& du, const Tensor& dc0, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
              const QrnnScanInputs& in) {
  using C = Compute<T>;
  const Tensor dy = or_zeros(dh, dc0.shape(), c);
  ScanArgs<T> p = problem_of<T>(in);
  p.u = backwards(p.u, p.steps);
  const Rows<T> du_rows = backwards(rows_of<T>(du), p.steps);
  const Rows<const T> dh_rows = backwards(rows_of<const T>(dy), p.steps);
  const Rows<const T> c_rows = backwards(rows_of<const T>(c), p.steps);
  choose(in.options, takes_vectors<T>(p.width, p.u, dh_rows, c_rows),
         [&]<QrnnPooling kPooling, bool kDraws, bool kVectors>() {
           launch(backward_kernel<kPooling, kDraws, kVectors, T>, blocks_for(p.columns, kWarp), kWarp, 0,
                  compute_stream(), du_rows, dc0.data<C>(), dh_rows, data_or_null<C>(dc_last), c_rows, p);
         });
}

}  // namespace

void qrnn_scan_forward(const Tensor& h, const Tensor& c, const Tensor& c_last, const QrnnScanInputs& in) {
  dispatch_device_float(in.u.dtype(), "qrnn_scan", [&]<class T>() { forward<T>(h, c, c_last, in); });
}

void qrnn_scan_backward(const Tensor& du, const Tensor& dc0, const Tensor& dh, const Tensor& dc_last,
                        const Tensor& c, const QrnnScanInputs& in) {
  dispatch_device_float(in.u.dtype(), "qrnn_scan",
                        [&]<class T>() { backward<T>(du, dc0, dh, dc_last, c, in); });
}

}  // namespace tandem::cuda
