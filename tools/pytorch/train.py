#!/usr/bin/env python3
"""Repeats a training run of Tandem in PyTorch, to check it: same model, text, batches, schedule and number of steps.

    ./build/tools/train gcide --out=runs/a
    python3 tools/pytorch/train.py runs/a/last.safetensors /usr/share/dictd/gcide.dict.dz

Reads the configuration of the run from its checkpoint, trains the same model in PyTorch from its own random weights (or
from the weights in --init=FILE) and prints dev bits per character at the same steps. Needs torch, numpy and a C++
compiler: the recurrence is a small extension, since a Python loop over time would take hours. Tandem does not depend on
PyTorch.
"""
import argparse
import json
import math
import time

import torch
import torch.nn.functional as F

from srupp import Model, columns, evaluate, load_weights, read_ids, read_safetensors


class RAdam:
    """RAdam with decoupled weight decay of every parameter; steps of momentum alone in its first steps."""

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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", help="a checkpoint of the Tandem run to repeat")
    parser.add_argument("text", help="the file that it was trained on; .dz and .gz are unpacked")
    parser.add_argument("--init", help="start from the weights of this checkpoint")
    parser.add_argument("--steps", type=int, help="stop after this many steps of the schedule; 0: only evaluate")
    parser.add_argument("--log-every", type=int, default=100)
    args = parser.parse_args()
    meta, _ = read_safetensors(args.checkpoint)
    run = json.loads(meta["run"])
    config, recipe = json.loads(run["model_config"]), run["recipe"]
    assert recipe["optimizer"] == "radam" and recipe["accumulate"] == 1

    ids = read_ids(args.text, meta["vocab"])
    n_dev, n_test = int(len(ids) * run["valid_fraction"]), int(len(ids) * run["test_fraction"])
    n_train = len(ids) - n_dev - n_test
    train, dev = ids[:n_train], ids[n_train : n_train + n_dev]
    dev_seen = dev[: recipe["eval_bytes"]] if recipe["eval_bytes"] else dev

    torch.manual_seed(run["seed"])
    torch.set_flush_denormal(True)  # moments of rare bytes decay into denormals, which are slow
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
