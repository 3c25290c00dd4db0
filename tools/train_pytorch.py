#!/usr/bin/env python3
"""A small SRU++ in PyTorch, to check Tandem's training against: same model, text, batches, schedule and steps.

    ./build/tools/train gcide --out=runs/a
    python3 tools/train_pytorch.py runs/a/last.safetensors /usr/share/dictd/gcide.dict.dz

reads the run's configuration from its checkpoint, trains the same model in PyTorch from its own random weights (or
from the weights in --init=FILE) and prints dev bits per character at the same steps. Needs torch, numpy and a C++
compiler: the recurrence is a small extension, since a Python loop over time would take hours. PyTorch is used by
this check alone; Tandem does not depend on it.
"""
import argparse
import gzip
import json
import math
import struct
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.cpp_extension import load_inline

# One thread: a second OpenMP runtime beside PyTorch's own would fight with it for the cores.
SCAN = r"""
#include <torch/extension.h>
#include <cmath>
static inline float sig(float x) { return 1.f / (1.f + std::exp(-x)); }
// u (T,B,3,D), x (T,B,D), v (2,D), b (2,D), c0 (B,D) -> h (T,B,D), c (T,B,D)
std::vector<torch::Tensor> forward(torch::Tensor u, torch::Tensor x, torch::Tensor v, torch::Tensor b, torch::Tensor c0) {
  const int64_t T = x.size(0), B = x.size(1), D = x.size(2);
  auto h = torch::empty_like(x), c = torch::empty_like(x);
  const float *U = u.data_ptr<float>(), *X = x.data_ptr<float>(), *V = v.data_ptr<float>(), *bb = b.data_ptr<float>(), *C0 = c0.data_ptr<float>();
  float *H = h.data_ptr<float>(), *C = c.data_ptr<float>();
  for (int64_t r = 0; r < B; ++r)
    for (int64_t t = 0; t < T; ++t) {
      const int64_t n = (t * B + r) * D;
      const float *p = t ? C + n - B * D : C0 + r * D, *q = U + 3 * n;
#pragma omp simd
      for (int64_t j = 0; j < D; ++j) {
        const float f = sig(q[D + j] + V[j] * p[j] + bb[j]), g = sig(q[2 * D + j] + V[D + j] * p[j] + bb[D + j]);
        const float s = (p[j] - q[j]) * f + q[j];
        C[n + j] = s;
        H[n + j] = (s - X[n + j]) * g + X[n + j];
      }
    }
  return {h, c};
}
std::vector<torch::Tensor> backward(torch::Tensor gh, torch::Tensor u, torch::Tensor x, torch::Tensor v, torch::Tensor b, torch::Tensor c0, torch::Tensor c) {
  const int64_t T = x.size(0), B = x.size(1), D = x.size(2);
  auto du = torch::empty_like(u), dx = torch::empty_like(x), dv = torch::zeros({B, 2, D}), db = torch::zeros({B, 2, D}), G = torch::zeros({B, D});
  const float *U = u.data_ptr<float>(), *X = x.data_ptr<float>(), *V = v.data_ptr<float>(), *bb = b.data_ptr<float>(), *C0 = c0.data_ptr<float>(), *C = c.data_ptr<float>(), *Y = gh.data_ptr<float>();
  float *dU = du.data_ptr<float>(), *dX = dx.data_ptr<float>(), *dV = dv.data_ptr<float>(), *dB = db.data_ptr<float>(), *g0 = G.data_ptr<float>();
  for (int64_t r = 0; r < B; ++r)
    for (int64_t t = T - 1; t >= 0; --t) {
      const int64_t n = (t * B + r) * D;
      const float *p = t ? C + n - B * D : C0 + r * D, *q = U + 3 * n;
#pragma omp simd
      for (int64_t j = 0; j < D; ++j) {
        const float f = sig(q[D + j] + V[j] * p[j] + bb[j]), g = sig(q[2 * D + j] + V[D + j] * p[j] + bb[D + j]);
        const float y = Y[n + j];
        const float ar = y * (C[n + j] - X[n + j]) * g * (1 - g), gc = y * g + g0[r * D + j], af = gc * (p[j] - q[j]) * f * (1 - f);
        g0[r * D + j] = gc * f + af * V[j] + ar * V[D + j];
        dU[3 * n + j] = gc * (1 - f); dU[3 * n + D + j] = af; dU[3 * n + 2 * D + j] = ar;
        dX[n + j] = y * (1 - g);
        dB[2 * r * D + j] += af; dB[(2 * r + 1) * D + j] += ar;
        dV[2 * r * D + j] += af * p[j]; dV[(2 * r + 1) * D + j] += ar * p[j];
      }
    }
  return {du, dx, dv.sum(0), db.sum(0)};
}
"""


class Scan(torch.autograd.Function):
    ext = None

    @staticmethod
    def forward(ctx, u, x, v, b, c0):
        h, c = Scan.ext.forward(u, x, v, b, c0)
        ctx.save_for_backward(u, x, v, b, c0, c)
        ctx.mark_non_differentiable(c)
        return h, c

    @staticmethod
    def backward(ctx, gh, _):
        u, x, v, b, c0, c = ctx.saved_tensors
        return (*Scan.ext.backward(gh.contiguous(), u, x, v, b, c0, c), None)


def xavier(out, inp, gain=1.0):
    bound = gain * math.sqrt(6 / (out + inp))
    return torch.nn.Parameter(torch.empty(out, inp).uniform_(-bound, bound))


class Layer(torch.nn.Module):
    def __init__(self, d, p, attends):
        super().__init__()
        self.d, self.p, self.attends = d, p, attends
        self.q = xavier(p, d)
        if attends:
            self.kv = xavier(2 * p, p)
            self.alpha = torch.nn.Parameter(torch.zeros(1))
        self.norm = torch.nn.LayerNorm(p)
        self.o = xavier(3 * d, p)
        self.v = torch.nn.Parameter(torch.empty(2, d).uniform_(-1, 1))
        self.b = torch.nn.Parameter(torch.cat([torch.zeros(1, d), torch.full((1, d), -2.0)]))

    def forward(self, x, memory, c, window):
        T, B, _ = x.shape
        q = x @ self.q.T
        y = q
        if self.attends:
            z = q if memory is None else torch.cat([memory @ self.q.T, q])
            k, v = (z @ self.kv.T).chunk(2, dim=-1)
            M = z.size(0) - T
            distance = torch.arange(T)[:, None] + M - torch.arange(M + T)[None, :]
            seen = (distance >= 0) & (distance < (window or M + T))
            scores = torch.einsum("tbp,sbp->bts", q, k) / math.sqrt(self.p)
            weights = scores.masked_fill(~seen, -1e30).softmax(-1)
            y = q + self.alpha * torch.einsum("bts,sbp->tbp", weights, v)
        u = (self.norm(y) @ self.o.T).view(T, B, 3, self.d)
        h, c_all = Scan.apply(u, x, self.v, self.b, c if c is not None else torch.zeros(B, self.d))
        return h, c_all[-1].detach()


class Model(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        assert c["dropout"] == 0 and c["attention_dropout"] == 0 and c["heads"] == 1
        d, n, k, last = c["d"], c["layers"], c["attention_every"], c["attention_last"]
        attends = [(i + 1) % k == 0 if k else i >= n - last for i in range(n)]
        bound = math.sqrt(3 / d)
        self.embedding = torch.nn.Parameter(torch.empty(c["vocabulary"], d).uniform_(-bound, bound))
        self.layers = torch.nn.ModuleList(Layer(d, c["d_projected"], a) for a in attends)
        self.output = torch.nn.Linear(d, c["vocabulary"])
        torch.nn.init.uniform_(self.output.weight, -bound, bound)
        torch.nn.init.zeros_(self.output.bias)

    def forward(self, tokens, state, window=0):
        x, after = self.embedding[tokens], []
        for i, layer in enumerate(self.layers):
            memory, c = state[i] if state else (None, None)
            h, c = layer(x, memory, c, window)
            after.append((x.detach(), c))
            x = h
        return self.output(x), after


class RAdam:
    """RAdam with decoupled decay of every parameter; momentum steps until the variance is known."""

    def __init__(self, params, decay):
        self.params, self.decay, self.t = list(params), decay, 0
        self.m = [torch.zeros_like(p) for p in self.params]
        self.v = [torch.zeros_like(p) for p in self.params]

    @torch.no_grad()
    def step(self, lr, b1=0.9, b2=0.999, eps=1e-8):
        self.t += 1
        t, top = self.t, 2 / (1 - b2) - 1
        rho = top - 2 * t * b2**t / (1 - b2**t)
        r = math.sqrt((rho - 4) * (rho - 2) * top / ((top - 4) * (top - 2) * rho)) if rho > 5 else None
        for p, m, v in zip(self.params, self.m, self.v):
            m.mul_(b1).add_(p.grad, alpha=1 - b1)
            v.mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
            p.mul_(1 - lr * self.decay)
            if r is None:
                p.add_(m, alpha=-lr / (1 - b1**t))
            else:
                p.addcdiv_(m, v.sqrt().add_(eps), value=-lr * r * math.sqrt(1 - b2**t) / (1 - b1**t))


def rate(step, recipe):
    lr, warmup, steps = recipe["lr"], recipe["warmup"], recipe["steps"]
    if step < warmup:
        return lr * (step + 1) / warmup
    start = 1 + math.cos(math.pi * (warmup - 1) / steps) if warmup else 2.0
    return lr * (1 + math.cos(math.pi * step / steps)) / start


def columns(ids, batch):
    length = (len(ids) - 1) // batch
    cut = lambda a: torch.from_numpy(np.ascontiguousarray(a[: length * batch].reshape(batch, length).T))
    return cut(ids[:-1]), cut(ids[1:])


@torch.no_grad()
def evaluate(model, ids, window, batch):
    x, y = columns(ids, batch)
    state, total = None, 0.0
    for i in range(0, len(x), window):
        logits, state = model(x[i : i + window], state, window + 1)
        total += F.cross_entropy(logits.flatten(0, 1), y[i : i + window].flatten(), reduction="sum").item()
    return total / x.numel() / math.log(2)


def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = f.read()
    meta = header.pop("__metadata__", {})
    kinds = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32, "U8": np.uint8}
    tensors = {
        name: np.frombuffer(data[slice(*e["data_offsets"])], kinds[e["dtype"]]).reshape(e["shape"])
        for name, e in header.items()
    }
    return meta, tensors


def load_weights(model, tensors):
    ours = {"embedding": "embedding.weight", "output.weight": "output.weight", "output.bias": "output.bias"}
    per_layer = {"q": "query.weight", "kv": "key_value.weight", "alpha": "alpha", "norm.weight": "norm.gain",
                 "norm.bias": "norm.bias", "o": "output.weight", "v": "scan.weight", "b": "scan.bias"}
    for name, p in model.named_parameters():
        if name.startswith("layers."):
            _, i, rest = name.split(".", 2)
            source = f"layers.{i}.{per_layer[rest]}"
        else:
            source = ours[name]
        p.data.copy_(torch.from_numpy(tensors["model." + source].copy()).view_as(p))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", help="of the Tandem run to repeat")
    parser.add_argument("text", help="the file it trained on; .dz and .gz are unpacked")
    parser.add_argument("--init", help="start from the weights of this checkpoint")
    parser.add_argument("--steps", type=int, help="stop early; the schedule stays the run's. 0: only evaluate")
    parser.add_argument("--log-every", type=int, default=100)
    args = parser.parse_args()
    Scan.ext = load_inline("sru_scan", SCAN, functions=["forward", "backward"],
                           extra_cflags=["-O3", "-march=native", "-ffast-math", "-fopenmp-simd"])
    meta, _ = read_safetensors(args.checkpoint)
    run = json.loads(meta["run"])
    config, recipe = json.loads(run["model_config"]), run["recipe"]
    assert recipe["optimizer"] == "radam" and recipe["accumulate"] == 1

    opener = gzip.open if args.text.endswith((".dz", ".gz")) else open
    with opener(args.text, "rb") as f:
        text = np.frombuffer(f.read(), np.uint8)
    table = np.full(256, -1, np.int64)
    table[np.frombuffer(bytes.fromhex(meta["vocab"]), np.uint8)] = np.arange(len(meta["vocab"]) // 2)
    ids = table[text]
    n_dev, n_test = int(len(ids) * run["valid_fraction"]), int(len(ids) * run["test_fraction"])
    n_train = len(ids) - n_dev - n_test
    train, dev = ids[:n_train], ids[n_train : n_train + n_dev]
    dev_seen = dev[: recipe["eval_bytes"]] if recipe["eval_bytes"] else dev

    torch.manual_seed(run["seed"])
    torch.set_flush_denormal(True)  # moments of bytes not seen for long decay into denormals, which are slow
    model = Model(config)
    if args.init:
        load_weights(model, read_safetensors(args.init)[1])
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    optimizer = RAdam(model.parameters(), recipe["weight_decay"])
    x, y = columns(train, recipe["batch_size"])
    T = recipe["unroll"]
    segments, state, begin, trained = len(x) // T, None, time.time(), 0.0
    if args.steps == 0:
        print(f"dev: {evaluate(model, dev_seen, recipe['eval_window'], recipe['eval_batch_size']):.4f} bpc as it is")
    for step in range(recipe["steps"] if args.steps is None else args.steps):
        s, start = step % segments, time.time()
        if s == 0:
            state = None
        logits, state = model(x[s * T : s * T + T], state)
        loss = F.cross_entropy(logits.flatten(0, 1), y[s * T : s * T + T].flatten())
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe["clip"])
        optimizer.step(rate(step, recipe))
        trained += time.time() - start
        done = step + 1
        if done % args.log_every == 0 or done == 1:
            speed = done * x.size(1) * T / trained
            print(f"step {done} loss {loss.item():.4f} {speed / 1e3:.1f}k tok/s {time.time() - begin:.0f} s", flush=True)
        if done % recipe["eval_every"] == 0 or done == recipe["steps"]:
            bpc = evaluate(model, dev_seen, recipe["eval_window"], recipe["eval_batch_size"])
            print(f"dev: {bpc:.4f} bpc at step {done}", flush=True)


if __name__ == "__main__":
    main()
