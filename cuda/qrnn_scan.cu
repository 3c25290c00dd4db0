// The pooling of the QRNN on the GPU: a thread computes one column of one batch row over all time steps.
//
// Memory traffic at least, for fo pooling: forward reads three planes and writes h and c, 5 T B D elements;
// backward reads the three, c and dh and writes three gradients, 8 T B D. The gates do not depend on the
// state, and one state follows from the one before by a single multiplication with addition.
#include "tandem/ops/qrnn_scan.h"

#include "tandem/core/dispatch.h"
#include "tandem/cuda/device/dropout.cuh"
#include "tandem/cuda/device/scan.cuh"

namespace tandem::cuda {
namespace {

// The arguments that the forward and the backward kernel share.
template <class T>
struct ScanArgs {
  using C = Compute<T>;
  int64_t steps, columns, width;  // T, B D, D
  Rows<const T> u;
  const C* c0;            // (B, D), or null for zeros
  C zone;                 // the factor of every update that is made; 1 where zoneout is drawn
  bool draws;             // whether each update is drawn: made, or not
  DeviceDropout zoneout;  // what it is drawn from

  __device__ __forceinline__ C state(const Column& at) const { return c0 ? c0[at.at] : C(0); }
};

// The factors of a column's updates, one time step after the other, from element `at` of (T, B, D) on: p.zone, or
// 0 where zoneout keeps the old state. A chunk's draws are made ahead of it, a bit each; if nothing is drawn, all
// bits are 1. So the steps of a chunk are free of branches either way, and one kernel serves both.
template <class T>
struct Zone {
  const ScanArgs<T>& p;
  int64_t at, step;
  DropoutKey key;
  uint32_t updates = ~uint32_t{0};  // bit i: whether step i of the chunk updates the state

  __device__ Zone(const ScanArgs<T>& p, int64_t at, int64_t step)
      : p(p), at(at), step(step), key(p.draws ? current_key(p.zoneout) : DropoutKey()) {}
  // To be called before each `count` calls of next(), at most 32.
  __device__ __forceinline__ void begin(int count) {
    updates = ~uint32_t{0};
    if (!p.draws) return;
    updates = 0;
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      updates |= uint32_t{one_factor<Compute<T>>(p.zoneout, key, at) != 0} << i;
      at += step;
    }
  }
  __device__ __forceinline__ Compute<T> next() {
    const bool update = updates & 1;
    updates >>= 1;
    return update ? p.zone : Compute<T>(0);
  }
};

// Collects the inputs of one step; value(k) is the element of plane k.
template <QrnnPooling kPooling, class C, class Value>
__device__ __forceinline__ QrnnInput<C> input_of(const Value& value, C zone, C c_before) {
  QrnnInput<C> in{value(0), value(1), C(0), C(0), zone, c_before};
  if constexpr (qrnn_planes(kPooling) > 2) in.output = value(2);
  if constexpr (qrnn_planes(kPooling) > 3) in.input = value(3);
  return in;
}

template <QrnnPooling kPooling, bool kVectors, class T>
__global__ void __launch_bounds__(kWarp)
    forward_kernel(const Rows<T> h, const Rows<T> c, Compute<T>* c_last, const ScanArgs<T> p) {
  using C = Compute<T>;
  constexpr int kPlanes = qrnn_planes(kPooling);
  const Lane<T, kVectors> lane(p.columns);
  const Column mine(lane.column, p.width), source(lane.source, p.width);
  Zone<T> zone(p, mine.at, p.columns);
  C state = p.state(mine);
  T *h_out = mine.in(h), *c_out = mine.in(c);

  const T* from[kPlanes];
  int64_t strides[kPlanes];
#pragma unroll
  for (int k = 0; k < kPlanes; ++k) {
    from[k] = source.in(p.u) + lane.row * p.u.step + k * p.width;
    strides[k] = p.u.step;
  }
  const auto step = [&](const auto& value, bool) {
    const QrnnOutput<C> out = qrnn_step<kPooling>(input_of<kPooling>(value, zone.next(), state));
    state = out.c;
    *h_out = static_cast<T>(out.h);
    h_out += h.step;
    if constexpr (kPooling != QrnnPooling::f) {  // in f pooling, h is c
      *c_out = static_cast<T>(out.c);
      c_out += c.step;
    }
  };
  for_steps<0>(lane, from, strides, p.steps, step, [&](int count) { zone.begin(count); });
  c_last[mine.at] = state;
}

// ops/qrnn_scan.cpp has the formulas. All rows begin with the last time step.
template <QrnnPooling kPooling, bool kVectors, class T>
__global__ void __launch_bounds__(kWarp)
    backward_kernel(const Rows<T> du, Compute<T>* dc0, const Rows<const T> dh, const Compute<T>* dc_last,
                    const Rows<const T> c, const ScanArgs<T> p) {
  using C = Compute<T>;
  constexpr int kPlanes = qrnn_planes(kPooling);
  const Lane<T, kVectors> lane(p.columns);
  const Column mine(lane.column, p.width), source(lane.source, p.width);
  Zone<T> zone(p, mine.at + (p.steps - 1) * p.columns, -p.columns);
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
  const auto step = [&](const auto& value, bool last) {
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
  };
  for_steps<1>(lane, from, strides, p.steps, step, [&](int count) { zone.begin(count); });
  dc0[mine.at] = carry;
}

template <class T>
ScanArgs<T> args_of(const QrnnScanInputs& in) {
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
          .draws = options.draws(),
          .zoneout = zoneout};
}

// Calls f.operator()<kPooling, kVectors>().
template <class F>
void choose(QrnnPooling pooling, bool vectors, const F& f) {
  const auto with_pooling = [&]<QrnnPooling kPooling>() {
    vectors ? f.template operator()<kPooling, true>() : f.template operator()<kPooling, false>();
  };
  switch (pooling) {
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
  const ScanArgs<T> p = args_of<T>(in);
  choose(in.options.pooling, takes_vectors<T>(p.width, p.u), [&]<QrnnPooling kPooling, bool kVectors>() {
    launch(forward_kernel<kPooling, kVectors, T>, blocks_for(p.columns, kWarp), kWarp, 0, compute_stream(),
           rows_of<T>(h), rows_of<T>(states), c_last.data<Compute<T>>(), p);
  });
}

template <class T>
void backward(const Tensor& du, const Tensor& dc0, const Tensor& dh, const Tensor& dc_last, const Tensor& c,
              const QrnnScanInputs& in) {
  using C = Compute<T>;
  const Tensor dy = or_zeros(dh, dc0.shape(), c);
  ScanArgs<T> p = args_of<T>(in);
  p.u = backwards(p.u, p.steps);
  const Rows<T> du_rows = backwards(rows_of<T>(du), p.steps);
  const Rows<const T> dh_rows = backwards(rows_of<const T>(dy), p.steps);
  const Rows<const T> c_rows = backwards(rows_of<const T>(c), p.steps);
  choose(in.options.pooling, takes_vectors<T>(p.width, p.u, dh_rows, c_rows),
         [&]<QrnnPooling kPooling, bool kVectors>() {
           launch(backward_kernel<kPooling, kVectors, T>, blocks_for(p.columns, kWarp), kWarp, 0,
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
