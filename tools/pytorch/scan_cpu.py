"""The SRU recurrence as a PyTorch operator on the CPU: C++ with OpenMP and SIMD, in f32 or bf16."""
import functools
import hashlib
import os

import torch

CPP = r"""
#include <ATen/ATen.h>
#include <bit>
#include <cmath>
#include <cstdint>
#include <torch/library.h>
#include <tuple>
using at::Tensor;

struct bf16 { uint16_t bits; };
static inline float load(float x) { return x; }
static inline float load(bf16 x) { return std::bit_cast<float>(uint32_t(x.bits) << 16); }
static inline void store(float& to, float x) { to = x; }
static inline void store(bf16& to, float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  to.bits = uint16_t((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
static inline float sigmoid(float x) { return 1.f / (1.f + std::exp(-x)); }

// A block of columns of one row runs over all time steps, so that its states and sums of gradients stay in cache.
constexpr int64_t kBlock = 256;

template <class Body>
void for_blocks(int64_t B, int64_t D, const Body& body) {
  const int64_t blocks = (D + kBlock - 1) / kBlock;
#pragma omp parallel for collapse(2)
  for (int64_t row = 0; row < B; ++row)
    for (int64_t block = 0; block < blocks; ++block)
      body(row, block * kBlock, std::min(kBlock, D - block * kBlock));
}

template <class S>
void run_forward(int64_t T, int64_t B, int64_t D, const S* U, const S* X, const float* V, const float* bias,
                 const float* C0, const float* mask, S* H, S* C, float* last) {
  for_blocks(B, D, [=](int64_t row, int64_t j0, int64_t n) {
    float c[kBlock];
    const float *vf = V + j0, *vr = vf + D, *bf = bias + j0, *br = bf + D, *keep = mask + row * D + j0;
    std::copy_n(C0 + row * D + j0, n, c);
    for (int64_t t = 0; t < T; ++t) {
      const int64_t at = (t * B + row) * D;
      const S *u = U + 3 * at + j0, *uf = u + D, *ur = uf + D, *x = X + at + j0;
      S *h = H + at + j0, *states = C + at + j0;
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) {
        const float f = sigmoid(load(uf[j]) + vf[j] * c[j] + bf[j]);
        const float r = keep[j] * sigmoid(load(ur[j]) + vr[j] * c[j] + br[j]);
        const float z = load(u[j]), skip = load(x[j]);
        c[j] = (c[j] - z) * f + z;
        store(states[j], c[j]);
        store(h[j], (c[j] - skip) * r + skip);
      }
    }
    std::copy_n(c, n, last + row * D + j0);
  });
}

template <class S>
void run_backward(int64_t T, int64_t B, int64_t D, const S* dH, const S* U, const S* X, const float* V,
                  const float* bias, const float* C0, const float* mask, const S* C, S* dU, S* dX, float* dV,
                  float* dB) {
  for_blocks(B, D, [=](int64_t row, int64_t j0, int64_t n) {
    float carry[kBlock] = {}, dvf[kBlock] = {}, dvr[kBlock] = {}, dbf[kBlock] = {}, dbr[kBlock] = {};
    const float *vf = V + j0, *vr = vf + D, *bf = bias + j0, *br = bf + D, *keep = mask + row * D + j0;
    float first[kBlock];
    std::copy_n(C0 + row * D + j0, n, first);
    const auto step = [&](int64_t t, auto* before) {
      const int64_t at = (t * B + row) * D;
      const S *u = U + 3 * at + j0, *uf = u + D, *ur = uf + D, *x = X + at + j0, *dh = dH + at + j0;
      const S* after = C + at + j0;
      S *du = dU + 3 * at + j0, *duf = du + D, *dur = duf + D, *dx = dX + at + j0;
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) {
        const float c = load(before[j]), y = load(dh[j]);
        const float f = sigmoid(load(uf[j]) + vf[j] * c + bf[j]), r = sigmoid(load(ur[j]) + vr[j] * c + br[j]);
        const float share = keep[j] * r, gc = y * share + carry[j];
        const float ar = y * (load(after[j]) - load(x[j])) * share * (1 - r);
        const float af = gc * (c - load(u[j])) * f * (1 - f);
        carry[j] = gc * f + af * vf[j] + ar * vr[j];
        store(du[j], gc * (1 - f));
        store(duf[j], af);
        store(dur[j], ar);
        store(dx[j], y * (1 - share));
        dvf[j] += af * c;
        dvr[j] += ar * c;
        dbf[j] += af;
        dbr[j] += ar;
      }
    };
    for (int64_t t = T - 1; t > 0; --t) step(t, C + ((t - 1) * B + row) * D + j0);
    step(0, static_cast<const float*>(first));
    const int64_t to = row * 2 * D + j0;
    std::copy_n(dvf, n, dV + to);
    std::copy_n(dvr, n, dV + to + D);
    std::copy_n(dbf, n, dB + to);
    std::copy_n(dbr, n, dB + to + D);
  });
}

template <class S>
S* data(const Tensor& x) { return static_cast<S*>(x.data_ptr()); }
float* f32(const Tensor& x) { return x.data_ptr<float>(); }

template <class F>
void with_type(const Tensor& x, const F& f) { x.scalar_type() == at::kBFloat16 ? f(bf16()) : f(float()); }

std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& u_, const Tensor& x_, const Tensor& v, const Tensor& b,
                                           const Tensor& c0, const Tensor& mask) {
  const Tensor u = u_.contiguous(), x = x_.contiguous();
  TORCH_CHECK(u.scalar_type() == x.scalar_type(), "scan: u is ", u.scalar_type(), ", x is ", x.scalar_type());
  Tensor h = at::empty_like(x), c = at::empty_like(x), last = at::empty_like(c0);
  with_type(x, [&](auto type) {
    using S = decltype(type);
    run_forward<S>(x.size(0), x.size(1), x.size(2), data<S>(u), data<S>(x), f32(v), f32(b), f32(c0), f32(mask),
                   data<S>(h), data<S>(c), f32(last));
  });
  return {h, c, last};
}

std::tuple<Tensor, Tensor, Tensor, Tensor> backward(const Tensor& dh_, const Tensor& u_, const Tensor& x_,
                                                    const Tensor& v, const Tensor& b, const Tensor& c0,
                                                    const Tensor& mask, const Tensor& c) {
  const Tensor u = u_.contiguous(), x = x_.contiguous(), dh = dh_.contiguous();
  Tensor du = at::empty_like(u), dx = at::empty_like(x);
  Tensor dv = at::empty({x.size(1), 2, x.size(2)}, v.options()), db = at::empty_like(dv);
  with_type(x, [&](auto type) {
    using S = decltype(type);
    run_backward<S>(x.size(0), x.size(1), x.size(2), data<S>(dh), data<S>(u), data<S>(x), f32(v), f32(b), f32(c0),
                    f32(mask), data<S>(c), data<S>(du), data<S>(dx), f32(dv), f32(db));
  });
  return {du, dx, dv.sum(0), db.sum(0)};
}

TORCH_LIBRARY(srupp_cpu, m) {
  m.def("scan(Tensor u, Tensor x, Tensor v, Tensor b, Tensor c0, Tensor mask) -> (Tensor, Tensor, Tensor)");
  m.def("scan_backward(Tensor dh, Tensor u, Tensor x, Tensor v, Tensor b, Tensor c0, Tensor mask, Tensor c) -> "
        "(Tensor, Tensor, Tensor, Tensor)");
}
TORCH_LIBRARY_IMPL(srupp_cpu, CPU, m) {
  m.impl("scan", &forward);
  m.impl("scan_backward", &backward);
}
"""


def save_for_backward(ctx, inputs, output):
    ctx.save_for_backward(*inputs, output[1])


@functools.cache
def load_operators():
    """Loads the operators. They are built once for this source, processor and PyTorch, which takes a minute.

    They use the OpenMP runtime that PyTorch has loaded: a second one would compete with it for the cores."""
    flags = ["-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fopenmp", "-std=c++20"]
    with open("/proc/cpuinfo") as info:
        machine = next((line for line in info if line.startswith("flags")), "")
    key = hashlib.sha256(repr((CPP, flags, machine, torch.__version__)).encode()).hexdigest()[:16]
    cache = os.environ.get("TORCH_EXTENSIONS_DIR") or os.path.expanduser("~/.cache/torch_extensions")
    folder = os.path.join(cache, f"tandem_scan_{key}")
    built = os.path.join(folder, "tandem_scan.so")
    if os.path.exists(built):
        torch.ops.load_library(built)
    else:
        from torch.utils.cpp_extension import load

        os.makedirs(folder, exist_ok=True)
        source = os.path.join(folder, "scan.cpp")
        with open(source, "w") as f:
            f.write(CPP)
        load("tandem_scan", [source], extra_cflags=flags, extra_ldflags=["-fopenmp"], build_directory=folder,
             is_python_module=False)

    @torch.library.register_fake("srupp_cpu::scan")
    def _(u, x, v, b, c0, mask):
        return torch.empty_like(x), torch.empty_like(x), torch.empty_like(c0)

    @torch.library.register_fake("srupp_cpu::scan_backward")
    def _(dh, u, x, v, b, c0, mask, c):
        return torch.empty_like(u), torch.empty_like(x), torch.empty_like(v), torch.empty_like(b)

    def differentiate(ctx, dh, _dc, _dc_last):
        return (*torch.ops.srupp_cpu.scan_backward(dh, *ctx.saved_tensors), None, None)

    torch.library.register_autograd("srupp_cpu::scan", differentiate, setup_context=save_for_backward)
    return True


@torch.compiler.assume_constant_result  # torch.compile calls it and takes the result as a constant
def loaded():
    return load_operators()


def cpu_scan(u, x, v, b, c0, mask):
    loaded()
    return torch.ops.srupp_cpu.scan(u, x, v, b, c0, mask)
