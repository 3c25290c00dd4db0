#!/usr/bin/env python3
"""PyTorch's side of `bench vs-pytorch` on the CPU: runs one task on a checkpoint and a text, and prints lines of JSON.

`bench vs-pytorch --with=pytorch` runs it as it runs Tandem's own side: the flags and the lines are those of
../bench/contender.h. There are two forms:

strong   the recurrence in C++ with OpenMP and SIMD (scan_cpu.py); attention by products or by PyTorch's own
         function, and torch.compile or not, as --tune finds fastest for the task and the size; a decoder that caches
         keys and values. The first training step is not compiled, since it ends sooner so.
authors  as the authors of SRU++ train on a CPU: not compiled, attention by products, the recurrence as a Python loop
         over time. Evaluation takes the recurrence in C++, as theirs does without gradients. They have no generation.

Both run on all cores with denormals flushed, in bf16 under autocast (the decoder's matrices are converted once), and
under tcmalloc where it is installed. Of malloc as it is, tcmalloc, jemalloc and huge pages (THP_MEM_ALLOC_ENABLE) it was
the fastest in three of four cases and within noise in the fourth; threads bound to cores changed nothing
(records/2026-11-22-cpu-speed.md).
"""
import argparse
import glob
import json
import math
import os
import statistics
import sys
import time


def settle():
    """Re-executes this script under tcmalloc, if it is installed: only a new process can load it."""
    found = glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4") + glob.glob("/usr/lib/*/libtcmalloc.so.4")
    if found and not os.environ.get("LD_PRELOAD"):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | {"LD_PRELOAD": found[0]})


if __name__ == "__main__":
    settle()

try:
    import torch
    import torch.nn.functional as F
except ModuleNotFoundError:
    sys.exit("this Python has no torch: pip install torch, or name another Python")

from scan import sru_scan
from srupp import ATTENTION, Model, columns, load_weights, read_ids, read_safetensors


def tell(**facts):
    print(json.dumps(facts), flush=True)


def looped_scan(u, x, v, b, c0, mask):
    """Computes the recurrence by PyTorch's operators, one step at a time."""
    c, h = c0, []
    for u_t, x_t in zip(u, x):
        f, r = torch.sigmoid(u_t[:, 1] + v[0] * c + b[0]), torch.sigmoid(u_t[:, 2] + v[1] * c + b[1])
        c = (c - u_t[:, 0]) * f + u_t[:, 0]
        h.append((c - x_t) * (mask * r) + x_t)
    return torch.stack(h).to(x.dtype), None, c


class Contender:
    def __init__(self, args):
        self.args, self.bf16 = args, args.precision == "bf16"
        meta, _ = read_safetensors(args.checkpoint)
        run = json.loads(meta["run"])
        self.config, self.recipe = json.loads(run["model_config"]), run["recipe"]
        self.ids = read_ids(args.text, meta["vocab"])

    def model(self, attention):
        scan = looped_scan if self.args.form == "authors" and self.args.task == "train" else sru_scan
        model = Model(self.config, attention, torch.bfloat16 if self.bf16 else torch.float32, scan)
        load_weights(model, read_safetensors(self.args.checkpoint)[1])
        return model


class Training:
    """Training steps over the columns of the text, in the order of Tandem's trainer."""

    def __init__(self, contender, attention, compiled):
        r = contender.recipe
        assert r["optimizer"] == "radam" and r["schedule"] == "constant" and r["accumulate"] == 1, r
        self.model, self.T, bf16 = contender.model(attention), r["unroll"], contender.bf16
        self.x, self.y = columns(contender.ids, r["batch_size"])
        self.state, self.at, self.losses = None, 0, []
        optimizer = torch.optim.RAdam(self.model.parameters(), lr=r["lr"], weight_decay=r["weight_decay"],
                                      decoupled_weight_decay=True, foreach=True)

        def forward(tokens, targets, state):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits, state = self.model(tokens, state)
            return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten()), state

        def update():
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), r["clip"], foreach=True)
            optimizer.step()

        self.eager = forward, update
        self.parts = (torch.compile(forward) if "forward" in compiled else forward,
                      torch.compile(update) if "update" in compiled else update)

    def step(self, parts=None):
        forward, update = parts or self.parts
        tokens, targets = self.x[self.at : self.at + self.T], self.y[self.at : self.at + self.T]
        self.at += self.T
        loss, self.state = forward(tokens, targets, self.state)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        update()
        self.losses.append(loss.item())


def timed(steps, step):
    """Returns the milliseconds of each step."""
    times = [time.perf_counter()]
    for _ in range(steps):
        step()
        times.append(time.perf_counter())
    return [1e3 * (b - a) for a, b in zip(times, times[1:])]


def train(contender, args):
    training = Training(contender, args.attention, args.compile)
    training.step(training.eager)  # compiling would delay the first step of the process
    tell(first_loss=training.losses[0])
    timed(args.warm_up, training.step)
    ms = timed(args.steps, training.step)
    return {"losses": training.losses, "ms": ms}


class Decoder(torch.nn.Module):
    """Decodes one token at a time for each row. Caches the last `keys` keys and values in a ring, as attention does not
    depend on their order. In bf16, matrices and activations are in bf16 and cell states in f32."""

    def __init__(self, model, attention, batch, keys, dtype):
        super().__init__()
        self.model, self.explicit, self.dtype = model, attention == "explicit", dtype
        d, p = model.layers[0].q.size(1), model.layers[0].q.size(0)
        self.c = [torch.zeros(batch, d) for _ in model.layers]
        shape = lambda layer: (batch, layer.heads, keys, p // layer.heads)
        self.caches = [torch.zeros(2, *shape(layer), dtype=dtype) if layer.attends else None for layer in model.layers]
        cast = lambda w: w.detach().to(dtype)
        self.embedding, self.output = cast(model.embedding), (cast(model.output.weight), cast(model.output.bias))
        self.weights = [(cast(layer.q), cast(layer.kv) if layer.attends else None, cast(layer.o)) for layer in model.layers]

    def attend(self, q, cache, heads, filled):
        q = q.view(q.size(0), heads, 1, -1)
        k, v = cache[:, :, :, :filled]
        if not self.explicit:
            return F.scaled_dot_product_attention(q, k, v).flatten(1)
        weights = torch.matmul(q * (1 / math.sqrt(q.size(3))), k.transpose(2, 3)).softmax(-1)
        return torch.matmul(weights, v).flatten(1)

    def forward(self, tokens, slot, filled):
        """Returns logits (B, V) after tokens (B), whose keys go to `slot` (a tensor). The first `filled` keys count."""
        x = F.embedding(tokens, self.embedding)
        for layer, c, cache, (w_q, w_kv, w_o) in zip(self.model.layers, self.c, self.caches, self.weights):
            y = q = F.linear(x, w_q)
            if layer.attends:
                kv = F.linear(q, w_kv).view(q.size(0), 2, layer.heads, 1, -1).transpose(0, 1)
                cache.index_copy_(3, slot, kv)
                y = q + layer.alpha.to(q.dtype) * self.attend(q, cache, layer.heads, filled)
            y = F.layer_norm(y, y.shape[1:], layer.norm.weight.to(y.dtype), layer.norm.bias.to(y.dtype))
            u = F.linear(y, w_o).view(y.size(0), 3, -1).float()
            f = torch.sigmoid(torch.addcmul(u[:, 1], layer.v[0], c).add_(layer.b[0]))
            r = torch.sigmoid(torch.addcmul(u[:, 2], layer.v[1], c).add_(layer.b[1]))
            c.copy_(torch.lerp(u[:, 0], c, f))
            x = torch.lerp(x.float(), c, r).to(self.dtype)
        return F.linear(x, *self.output).float()


def decode(contender, args, batch, attention, compiled, steps):
    """Returns the milliseconds of greedy steps after a prompt as long as the memory, and the nats a token on it."""
    model = contender.model(attention)
    dtype = torch.bfloat16 if contender.bf16 else torch.float32
    decoder = Decoder(model, attention, batch, args.memory + 1, dtype)
    x, y = columns(contender.ids, batch)
    nats = 0.0
    for t in range(args.memory):
        logits = decoder(x[t], torch.tensor([t]), t + 1)
        nats += F.cross_entropy(logits, y[t]).item()
    forward = torch.compile(decoder.forward, fullgraph=True) if compiled else decoder.forward
    at = args.memory

    def step():  # ends with the tokens on the host, as they would be shown
        nonlocal logits, at
        tokens = logits.argmax(-1)
        tokens.tolist()
        logits = forward(tokens, torch.tensor([at % (args.memory + 1)]), args.memory + 1)
        at += 1

    timed(args.warm_up, step)
    return timed(steps, step), nats / args.memory


@torch.inference_mode()
def generate(contender, args):
    facts = {}
    for batch in args.batches:
        ms, nats = decode(contender, args, batch, args.attention, "decoder" in args.compile, args.steps)
        facts[f"ms_{batch}"], facts[f"nats_{batch}"] = ms, nats
    return facts


@torch.inference_mode()
def evaluate(contender, args):
    """Evaluates segment by segment with carried state and memory. The first segment, without memory, is not timed."""
    model = contender.model(args.attention).eval()
    x, y = columns(contender.ids[: args.window * (1 + args.warm_up + args.steps) + 1], 1)
    forward = torch.compile(model) if "model" in args.compile else model
    state, nats, at = None, 0.0, 0

    def segment():
        nonlocal state, nats, at
        with torch.autocast("cpu", torch.bfloat16, enabled=contender.bf16):
            logits, state = forward(x[at : at + args.window], state, args.window + 1)
        nats += F.cross_entropy(logits.float().flatten(0, 1), y[at : at + args.window].flatten(), reduction="sum").item()
        at += args.window

    timed(1 + args.warm_up, segment)
    ms = timed(args.steps, segment)
    return {"ms": ms, "nats": nats / at}


TASKS = {"train": (train, ["update", "forward+update"]), "generate": (generate, ["decoder"]),
         "evaluate": (evaluate, ["model"])}  # with the parts that torch.compile may take


def tune(contender, args):
    """Finds the fastest attention and parts to compile, by the best steps of a trial. The two fastest are tried twice
    more, in turn, since on a busy machine a single trial can mislead."""
    run, parts = TASKS[args.task]
    args.warm_up, args.steps = 1, max(2, args.steps // 3)
    tried = {}

    def best(option):
        args.attention, args.compile = option
        torch.compiler.reset()
        facts = run(contender, args)
        ms = sum(min(ms) / int(name[3:] or 1) for name, ms in facts.items() if name.startswith("ms"))  # by batch
        tried.setdefault(option, []).append(round(ms, 3))

    def typical(option):
        return statistics.median(tried[option])

    for attention in ATTENTION:
        best((attention, "none"))
    # A training step of a large model takes seconds, so only the faster attention is tried compiled.
    for attention in [min(tried, key=typical)[0]] if args.task == "train" else ATTENTION:
        for compiled in parts:
            try:
                best((attention, compiled))
            except Exception as error:  # a form that does not compile is left out
                print(f"{compiled} does not compile: {error}".splitlines()[0], file=sys.stderr)
    finalists = sorted(tried, key=typical)[:2]
    for option in finalists * 2:
        best(option)
    attention, compiled = min(finalists, key=typical)
    return {"options": [f"--attention={attention}", f"--compile={compiled}"],
            "tried_ms": {"/".join(option): ms for option, ms in tried.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument("--checkpoint", required=True, help="a checkpoint of train; its recipe has sizes and optimizer")
    parser.add_argument("--text", required=True, help="file to train on, to evaluate, and to take prompts from")
    parser.add_argument("--precision", default="f32", choices=["f32", "bf16"], help="bf16: autocast")
    parser.add_argument("--steps", type=int, required=True, help="number of timed training steps, tokens or segments")
    parser.add_argument("--warm-up", type=int, default=2, help="number of untimed steps before them")
    parser.add_argument("--window", type=int, default=2560, help="in evaluation, tokens of a segment")
    parser.add_argument("--memory", type=int, default=0,
                        help="in generation, number of keys that a token sees besides its own")
    parser.add_argument("--batches", type=lambda s: [int(b) for b in s.split(",")], default=[1, 32],
                        help="in generation, numbers of rows")
    parser.add_argument("--form", default="strong", choices=["strong", "authors"])
    parser.add_argument("--attention", default="explicit", choices=ATTENTION)
    parser.add_argument("--compile", default="none", help="parts to compile, with + between: forward, update; decoder; model")
    parser.add_argument("--tune", action="store_true", help="print the fastest --attention and --compile of the task")
    args = parser.parse_args()
    torch.set_flush_denormal(True)
    contender = Contender(args)
    tell(**(tune if args.tune else TASKS[args.task][0])(contender, args))


if __name__ == "__main__":
    main()
