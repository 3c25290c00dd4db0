"""The minGRU language model of tests/consumer in PyTorch, with what its program does: training, resuming, evaluation, text.

    python3 mingru.py train TEXT --out=RUN [--steps=N] [--resume]
    python3 mingru.py evaluate TEXT --out=RUN
    python3 mingru.py generate TEXT --out=RUN [--prompt=TEXT] [--bytes=N]
"""
import argparse
import json
import math
import os

import torch
from torch import nn


class MinGRULayer(nn.Module):
    """h_t = (1 - z_t) h_{t-1} + z_t g(a_t), z = sigmoid(W_z x), g(a) = a + 1/2 for a >= 0, else sigmoid(a)."""

    def __init__(self, d):
        super().__init__()
        self.linear = nn.Linear(d, 2 * d)

    def forward(self, x, h):
        a, z = self.linear(x).chunk(2, dim=-1)
        z = torch.sigmoid(z)
        write = z * torch.where(a >= 0, a + 0.5, torch.sigmoid(a))
        states = []
        for keep, new in zip(1 - z, write):  # T steps
            h = keep * h + new
            states.append(h)
        return torch.stack(states), h.detach()


class MinGRU(nn.Module):
    def __init__(self, vocabulary, d, layers, dropout):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d)
        self.layers = nn.ModuleList(MinGRULayer(d) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(d, vocabulary)
        for rows in (self.embedding.weight, self.output.weight):
            nn.init.uniform_(rows, -0.1, 0.1)

    def forward(self, tokens, state):
        x, after = self.embedding(tokens), []
        for layer, h in zip(self.layers, state):
            x, last = layer(x, h)
            x = self.dropout(x)
            after.append(last)
        return self.output(x), after

    def start(self, batch):
        return [torch.zeros(batch, self.embedding.embedding_dim) for _ in self.layers]


def segments(ids, batch, unroll):
    """Yields inputs and targets, (T, B), of a text cut into columns."""
    columns = ids[: (len(ids) - 1) // batch * batch + 1]
    inputs, targets = columns[:-1].view(batch, -1).t(), columns[1:].view(batch, -1).t()
    return [(inputs[t : t + unroll], targets[t : t + unroll]) for t in range(0, len(inputs), unroll)]


def loss_of(model, x, y, state):
    logits, state = model(x, state)
    return nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten()), state


@torch.no_grad()
def evaluate(model, ids, window=256):
    model.eval()
    state, total = model.start(1), 0.0
    for x, y in segments(ids, 1, window):
        loss, state = loss_of(model, x, y, state)
        total += loss.item() * y.numel()
    model.train()
    return total / (len(ids) - 1) / math.log(2)


def train(o, model, ids, dev):
    optimizer = torch.optim.AdamW(model.parameters(), lr=o.lr, weight_decay=0.1)
    warm_up = lambda n: min(1, (n + 1) / o.warmup) * 0.5 * (1 + math.cos(math.pi * n / o.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warm_up)
    batches, state, step, best = segments(ids, o.batch_size, o.unroll), model.start(o.batch_size), 0, math.inf
    last = os.path.join(o.out, "last.pt")
    if o.resume:
        saved = torch.load(last)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        torch.set_rng_state(saved["random"])
        state, step, best = saved["state"], saved["step"], saved["best"]
    while step < o.steps:
        if step % len(batches) == 0:
            state = model.start(o.batch_size)
        loss, state = loss_of(model, *batches[step % len(batches)], state)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        step += 1
        if step % o.eval_every and step != o.steps:
            continue
        bpc = evaluate(model, dev)
        print(json.dumps({"step": step, "bpc": loss.item() / math.log(2), "dev_bpc": bpc}))
        if bpc < best:
            best = bpc
            torch.save(model.state_dict(), os.path.join(o.out, "best.pt"))
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
                    "random": torch.get_rng_state(), "state": state, "step": step, "best": best}, last)


@torch.no_grad()
def generate(model, prompt, count, symbols):
    model.eval()
    state, text = model.start(1), list(prompt)
    logits, state = model(torch.tensor([[symbols.index(b)] for b in prompt]), state)
    for _ in range(count):
        drawn = torch.multinomial(torch.softmax(logits[-1], dim=-1), 1)
        text.append(symbols[drawn.item()])
        logits, state = model(drawn, state)
    return bytes(text).decode(errors="replace")


def main():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("program", choices=["train", "evaluate", "generate"])
    flags.add_argument("text")
    flags.add_argument("--out", required=True)
    flags.add_argument("--resume", action="store_true")
    flags.add_argument("--prompt", default="\n")
    for name, value in dict(d=512, layers=3, dropout=0.0, batch_size=8, unroll=64, lr=5e-3, warmup=100, steps=10000,
                            eval_every=4000, seed=1234, bytes=400).items():
        flags.add_argument("--" + name.replace("_", "-"), type=type(value), default=value)
    o = flags.parse_args()
    torch.manual_seed(o.seed)
    with open(o.text, "rb") as file:
        text = file.read()
    symbols = sorted(set(text))
    ids = torch.tensor([symbols.index(byte) for byte in text])
    dev, test = int(len(ids) * 0.90), int(len(ids) * 0.95)
    model = MinGRU(len(symbols), o.d, o.layers, o.dropout)
    os.makedirs(o.out, exist_ok=True)
    if o.program == "train":
        return train(o, model, ids[:dev], ids[dev:test])
    model.load_state_dict(torch.load(os.path.join(o.out, "best.pt")))
    if o.program == "evaluate":
        print("bpc:", evaluate(model, ids[test:]))
    else:
        print(generate(model, o.prompt.encode(), o.bytes, symbols))


if __name__ == "__main__":
    main()
