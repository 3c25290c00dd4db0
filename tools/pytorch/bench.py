#!/usr/bin/env python3
"""Measures in PyTorch what `bench step` measures: training steps of the same SRU++ at the same sizes, on random tokens.

    python3 tools/pytorch/bench.py --preset=base                  # eager and torch.compile, bf16 autocast, on the GPU
    python3 tools/pytorch/bench.py --preset=base-k5 --form=compile --precision=tf32 --batch-size=4
    python3 tools/pytorch/bench.py --config=runs/a/last.safetensors --device=cpu --precision=f32
    TRITON_INTERPRET=1 python3 tools/pytorch/bench.py --check     # the kernels against their definition, without a GPU

A step is forward, backward, clipping and RAdam, with memory and cell state carried from step to step. The recurrence
is a fused Triton kernel (scan.py). Attention runs both as batched products and through PyTorch's own function,
and the faster counts; the Triton kernel takes the fastest of four block shapes; RAdam is PyTorch's, multi-tensor, and
compiled in the compiled form. Times are of CUDA events around whole steps, the median of --steps. Prints, for each
form, a line of text and one of JSON. --check compares the kernels with a loop over time in f64, gradients included,
both ways to attend and the compiled model with each other, and, with --checkpoint and --text, bits per character with those
of the program evaluate. Needs torch; Tandem does not. The comparison on the CPU, which includes generation, evaluation
and the authors' way, is `bench vs-pytorch` (contender.py).
"""
import argparse
import gc
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import torch.nn.functional as F

from scan import INTERPRETED, plain_scan, sru_scan, triton, with_triton
from srupp import ATTENTION, Model, evaluate, load_weights, read_ids, read_safetensors

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SEGMENTS = 8  # segments of random tokens, used in turn
WARM_UP = 5


def read_preset(name, build):
    """Returns the configuration of a preset, its batch size and unroll, from `train --describe`."""
    with tempfile.NamedTemporaryFile() as text:
        text.write(b"any text " * 2000)  # the vocabulary of this text is not used
        text.flush()
        out = subprocess.run([build / "tools/train", text.name, f"--preset={name}", "--device=cpu", "--describe"],
                             capture_output=True, text=True)
    if out.returncode != 0:
        sys.exit(f"pytorch/bench: {out.stderr.strip()}")
    facts = json.loads(out.stdout)
    del facts["model"]["vocabulary"]
    return facts["model"], facts["batch_size"], facts["unroll"]


def read_config(argument):
    if argument.lstrip().startswith("{"):
        return json.loads(argument), None, None
    run = json.loads(read_safetensors(argument)[0]["run"])
    return json.loads(run["model_config"]), run["recipe"]["batch_size"], run["recipe"]["unroll"]


class Training:
    """A model with its optimizer and data; step() trains one step."""

    def __init__(self, args, form, attention):
        torch.manual_seed(1)
        torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
        T, B = args.unroll, args.batch_size
        bf16, cuda = args.precision == "bf16", args.device == "cuda"
        self.model = Model(args.model, attention, torch.bfloat16 if bf16 else torch.float32).to(args.device)
        self.tokens = torch.randint(args.model["vocabulary"], (SEGMENTS, T + 1, B), device=args.device)
        self.state, self.at = self.model.start(B, T), 0
        compiled = form == "compile"
        optimizer = torch.optim.RAdam(self.model.parameters(), lr=1e-4, weight_decay=0.1, decoupled_weight_decay=True,
                                      foreach=True, capturable=compiled and cuda)

        def forward(tokens, targets, state):
            with torch.autocast(args.device, torch.bfloat16, enabled=bf16):
                logits, state = self.model(tokens, state)
            return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten()), state

        def update():
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=True)
            optimizer.step()

        self.forward = torch.compile(forward, fullgraph=True) if compiled else forward
        self.update = torch.compile(update) if compiled else update

    def step(self):
        tokens = self.tokens[self.at % SEGMENTS]
        self.at += 1
        loss, self.state = self.forward(tokens[:-1], tokens[1:], self.state)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        self.update()
        return loss


def step_times(training, steps, cuda):
    """Returns the milliseconds of each of `steps` steps, and the last loss."""
    if not cuda:
        times = [time.perf_counter()]
        for _ in range(steps):
            loss = training.step().item()
            times.append(time.perf_counter())
        return [1e3 * (b - a) for a, b in zip(times, times[1:])], loss
    events = [torch.cuda.Event(enable_timing=True) for _ in range(steps + 1)]
    events[0].record()
    for event in events[1:]:
        loss = training.step()
        event.record()
    torch.cuda.synchronize()
    return [a.elapsed_time(b) for a, b in zip(events, events[1:])], loss.item()


def measure(args, form, attention):
    cuda = args.device == "cuda"
    started = time.perf_counter()
    training = Training(args, form, attention)
    step_times(training, args.warm_up, cuda)
    warm_up = time.perf_counter() - started
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    ms, loss = step_times(training, args.steps, cuda)
    median = statistics.median(ms)
    return {"attention": attention, "tokens_per_s": round(1e3 * args.unroll * args.batch_size / median),
            "ms": round(median, 4), "ms_min": round(min(ms), 4), "ms_max": round(max(ms), 4), "loss": round(loss, 4),
            "peak_memory_bytes": torch.cuda.max_memory_allocated() if cuda else None, "warm_up_s": round(warm_up, 1)}


def release(args):
    torch.compiler.reset()
    gc.collect()
    if args.device == "cuda":
        torch.cuda.empty_cache()


def bench_form(args, form):
    """Returns a row with the faster attention and the time of the other. If both fail, the row says so."""
    rows, failures = [], {}
    for attention in ATTENTION if args.attention == "fastest" else [args.attention]:
        try:
            rows.append(measure(args, form, attention))
        except Exception as error:  # out of memory, or does not compile: reported in the row
            failures[attention] = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        release(args)
    row = {"form": form, "precision": args.precision}
    rows.sort(key=lambda r: r["ms"])
    if rows:
        row |= rows[0]
    if rows[1:]:
        row["other_attention_ms"] = rows[1]["ms"]
    if failures:
        row["failed"] = failures
    return row


def table_line(row):
    name = f"PyTorch {row['form']:<8} {row['precision']:<5}"
    if "ms" not in row:
        return f"{name} failed: {row['failed']}"
    memory = f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB" if row["peak_memory_bytes"] else "not counted"
    other = f", the other {row['other_attention_ms']:.2f} ms" if "other_attention_ms" in row else ""
    return (f"{name} {row['ms']:10.2f} ms ({row['ms_min']:.2f} .. {row['ms_max']:.2f}) {row['tokens_per_s']:>12,} "
            f"tokens/s  memory {memory}  loss {row['loss']}  attention {row['attention']}{other}")


def bench(args):
    c = args.model
    device = torch.cuda.get_device_name() if args.device == "cuda" else "cpu"
    versions = f"torch {torch.__version__}, triton {triton.__version__ if triton else 'none'}"
    print(f"device: {device}; {versions}")
    heads = c.get("heads", 1)
    print(f"preset {args.preset or 'of --config'}: T {args.unroll}, M {args.unroll}, B {args.batch_size}, d {c['d']}, "
          f"d' {c['d_projected']}, {heads} head{'' if heads == 1 else 's'}, V {c['vocabulary']}", flush=True)
    ok = True
    for form in args.form.split(","):
        row = bench_form(args, form)
        ok &= "ms" in row
        print(table_line(row))
        print(json.dumps({"preset": args.preset, "device": device, "torch": torch.__version__, "unroll": args.unroll,
                          "batch_size": args.batch_size, "steps": args.steps} | row), flush=True)
    return ok


def distance(actual, expected):
    """Returns the largest difference over the largest expected value."""
    actual, expected = actual.double(), expected.double()
    largest = expected.abs().max().item()
    worst = (actual - expected).abs().max().item()
    return worst / largest if largest else worst


def report(name, errors, tolerance):
    ok = max(errors) <= tolerance  # false for NaN
    measured = ", ".join(f"{e:.1e}" for e in errors)
    print(f"{'ok    ' if ok else 'FAILED'} {name}: {measured} (at most {tolerance:.0e})", flush=True)
    return ok


def check_scan(device, dtype, T, B, D):
    """Checks h, the last state and the gradients of u, x, v, b against the definition in f64, by a random projection."""
    random = lambda *shape: torch.randn(*shape, device=device)
    inputs = [random(T, B, 3, D).to(dtype), random(T, B, D).to(dtype), random(2, D), random(2, D), random(B, D),
              F.dropout(torch.ones(B, D, device=device), 0.3)]
    dh = random(T, B, D).to(dtype)
    results = []
    for function, convert in ((sru_scan, torch.clone), (plain_scan, torch.Tensor.double)):
        leaves = [convert(z).requires_grad_(i < 4) for i, z in enumerate(inputs)]
        h, *_, c_last = function(*leaves)
        h.backward(dh.to(h.dtype))
        results.append([h, c_last] + [z.grad for z in leaves[:4]])
    kernel = f"Triton{', interpreted' if INTERPRETED else ''}" if with_triton(inputs[0]) else "C++"
    return report(f"scan ({kernel}) {str(dtype)[6:]} {T} x {B} x {D}: h, c, du, dx, dv, db",
                  list(map(distance, *results)), 1e-5 if dtype == torch.float32 else 3e-2)


def loss_and_gradients(model, forward):
    """Runs two segments, so that there is a memory. `forward` is the model, compiled or not."""
    torch.manual_seed(5)
    device = model.embedding.device
    tokens = torch.randint(model.output.out_features, (2, 17, 3), device=device)
    state = model.start(3, 16)
    for segment in tokens:
        logits, state = forward(segment[:-1], state)
        loss = F.cross_entropy(logits.flatten(0, 1), segment[1:].flatten())
    model.zero_grad()
    loss.backward()
    return [loss.detach()] + [p.grad.clone() for p in model.parameters()]


def check_model(device):
    """Checks that both ways to attend, eager and compiled, give the same loss and gradients."""
    config = {"vocabulary": 11, "d": 64, "d_projected": 32, "layers": 3, "heads": 2, "attention_every": 2}
    models = []
    for attention in ATTENTION:
        torch.manual_seed(7)
        models.append(Model(config, attention).to(device))
        for layer in models[-1].layers:
            if layer.attends:
                torch.nn.init.constant_(layer.alpha, 0.7)  # initially 0, which would hide attention
    expected = loss_and_gradients(models[0], models[0])
    ok = report("attention by products and by PyTorch: loss, worst gradient",
                summary(loss_and_gradients(models[1], models[1]), expected), 1e-4)
    for attention, model in zip(ATTENTION, models):
        compiled = torch.compile(model, fullgraph=True)
        ok &= report(f"compiled, {attention}, in one graph: loss, worst gradient",
                     summary(loss_and_gradients(model, compiled), expected), 1e-4)
    return ok


def summary(actual, expected):
    loss, *gradients = map(distance, actual, expected)
    return [loss, max(gradients)]


def check_tandem(args, device):
    """Checks bits per character of a text, with the weights of a checkpoint, against the program evaluate."""
    meta, tensors = read_safetensors(args.checkpoint)
    run = json.loads(meta["run"])
    window = run["recipe"]["eval_window"]
    ids = read_ids(args.text, meta["vocab"])[: args.limit]
    printed = subprocess.run([args.build / "tools/evaluate", f"--checkpoint={args.checkpoint}", f"--corpus={args.text}",
                              "--split=all", f"--limit={args.limit}", f"--window={window}", "--precision=f32",
                              "--json"], check=True, stdout=subprocess.PIPE, text=True).stdout
    expected = json.loads(printed)["bpc"]
    ok = True
    for attention in ATTENTION:
        model = Model(json.loads(run["model_config"]), attention).to(device)
        load_weights(model, tensors)
        bpc = evaluate(model, ids, window, 1)
        ok &= report(f"Tandem's evaluate {expected:.6f} bpc over {len(ids) - 1} symbols, PyTorch ({attention}) "
                     f"{bpc:.6f}", [abs(bpc - expected) / expected], 1e-5)
    return ok


def check(args):
    torch.manual_seed(3)
    sizes = [(1, 1, 1), (7, 3, 33), (8, 2, 130), (65, 2, 64)]
    if args.device == "cuda":
        sizes += [(256, 4, 3072)]
    ok = all([check_scan(args.device, dtype, *size) for dtype in (torch.float32, torch.bfloat16) for size in sizes])
    ok &= check_model(args.device)
    if args.checkpoint:
        ok &= check_tandem(args, args.device)
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", help="preset of SRU++, such as base or base-k5")
    parser.add_argument("--config", help="in place of --preset: a checkpoint of train, or its configuration as JSON")
    parser.add_argument("--batch-size", type=int, help="B [the preset's]")
    parser.add_argument("--unroll", type=int, help="T, and the length of the memory [the preset's]")
    parser.add_argument("--vocabulary", type=int, default=99, help="V, if the configuration has none [99, as in bench]")
    parser.add_argument("--form", default="eager,compile", help="eager, compile or both [both]")
    parser.add_argument("--precision", default="bf16", choices=["f32", "tf32", "bf16"], help="bf16: autocast [bf16]")
    parser.add_argument("--attention", default="fastest", choices=["fastest", *ATTENTION])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--steps", type=int, default=20, help="timed training steps; the median counts [20]")
    parser.add_argument("--warm-up", type=int, default=WARM_UP, help=f"steps before them [{WARM_UP}]")
    parser.add_argument("--check", action="store_true", help="check kernels and model instead")
    parser.add_argument("--checkpoint", help="with --check: also check evaluation with these weights")
    parser.add_argument("--text", help="with --checkpoint: the file to evaluate on")
    parser.add_argument("--limit", type=int, default=20000, help="number of its bytes to evaluate [20000]")
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build",
                        help="folder in which Tandem is built [build]")
    args = parser.parse_args()
    if set(args.form.split(",")) - {"eager", "compile"}:
        parser.error(f"--form={args.form}; there are eager and compile")
    if bool(args.checkpoint) != bool(args.text):
        parser.error("--checkpoint and --text go together")
    if args.check and args.device == "cuda" and not torch.cuda.is_available():
        args.device = "cpu"
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("pytorch/bench: torch finds no CUDA device; use --device=cpu")
    if args.device == "cuda" and triton is None:
        sys.exit("pytorch/bench: there is no triton, which the recurrence needs on a GPU")
    if args.check:
        sys.exit(0 if check(args) else 1)
    if bool(args.preset) == bool(args.config):
        parser.error("give --preset or --config")
    args.model, batch, unroll = read_preset(args.preset, args.build) if args.preset else read_config(args.config)
    args.model.setdefault("vocabulary", args.vocabulary)
    args.batch_size, args.unroll = args.batch_size or batch, args.unroll or unroll
    if not args.batch_size or not args.unroll:
        parser.error("--config=JSON needs --batch-size and --unroll")
    sys.exit(0 if bench(args) else 1)


if __name__ == "__main__":
    main()
