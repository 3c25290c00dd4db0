"""SRU++ in PyTorch as in Tandem, and a reader of Tandem's checkpoints; for train.py, bench.py and contender.py.

The equations and the order of parts are those of models/srupp/srupp.h and models/srupp/srupp.cpp.
"""
import gzip
import json
import math
import struct

import numpy as np
import torch
import torch.nn.functional as F

from scan import sru_scan


def explicit_attention(q, k, v, bias, heads, dropout):
    """Returns softmax(q k' / sqrt(d) + bias) v by batched products; q is (T, B, D), k and v (S, B, D), bias (T, S)."""
    width = q.size(2) // heads
    q, k, v = (z.reshape(z.size(0), -1, width).transpose(0, 1) for z in (q, k, v))  # (B heads, rows, width)
    weights = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=1 / math.sqrt(width)).softmax(-1)
    return F.dropout(weights, dropout).bmm(v).transpose(0, 1)


def library_attention(q, k, v, bias, heads, dropout):
    """Returns the same by PyTorch's own function, which chooses the kernel."""
    q, k, v = (z.unflatten(2, (heads, -1)).permute(1, 2, 0, 3) for z in (q, k, v))  # (B, heads, rows, width)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout).permute(2, 0, 1, 3)


ATTENTION = {"explicit": explicit_attention, "sdpa": library_attention}


def xavier(out, inp, gain=1.0):
    bound = gain * math.sqrt(6 / (out + inp))
    return torch.nn.Parameter(torch.empty(out, inp).uniform_(-bound, bound))


class Layer(torch.nn.Module):
    def __init__(self, c, attends, last):
        super().__init__()
        d, p = c["d"], c["d_projected"]
        self.heads, self.attends = c.get("heads", 1), attends
        self.dropout, self.attention_dropout = c.get("dropout", 0), c.get("attention_dropout", 0)
        self.highway_dropout = 0 if last else self.dropout
        self.q = xavier(p, d)
        if attends:
            self.kv = xavier(2 * p, p)
            self.alpha = torch.nn.Parameter(torch.zeros(1))
        self.norm = torch.nn.LayerNorm(p)
        self.o = xavier(3 * d, p, math.sqrt(1 - self.dropout))
        self.v = torch.nn.Parameter(torch.empty(2, d).uniform_(-1, 1))
        bias = torch.tensor([[0.0], [c.get("highway_bias", -2)]])
        self.b = torch.nn.Parameter(bias.expand(2, d).clone())

    def forward(self, x, memory, c, bias, attention, scan):
        y = q = F.linear(x, self.q)
        if self.attends:
            z = q if memory is None else torch.cat([F.linear(memory, self.q), q])
            k, v = F.linear(z, self.kv).chunk(2, dim=-1)
            dropout = self.attention_dropout if self.training else 0
            with torch.autocast(x.device.type, enabled=False):  # autocast would widen the weights
                attended = attention(q, k, v, bias, self.heads, dropout).reshape(q.shape)
            y = q + self.alpha.to(q.dtype) * attended
        u = F.linear(F.dropout(self.norm(y), self.dropout, self.training), self.o).unflatten(2, (3, -1))
        mask = F.dropout(torch.ones_like(c), self.highway_dropout, self.training)
        h, _, c_last = scan(u, x, self.v, self.b, c, mask)
        return h, c_last.detach()


class Model(torch.nn.Module):
    """SRU++ with a configuration as checkpoints have it. `stream` is the dtype of activations between the layers."""

    def __init__(self, c, attention="explicit", stream=torch.float32, scan=sru_scan):
        super().__init__()
        assert c.get("model", "srupp") == "srupp", f"this is SRU++ alone, not {c['model']}"
        for field, published in (("alpha", 0), ("conv_width", 0), ("short_conv_width", 0)):
            value = c.get(field, published)
            assert value == published, f"this is SRU++ as published, with {field} {published}, not {value}: laptop-published is"
        d, n = c["d"], c["layers"]
        k, last = c.get("attention_every", 1), c.get("attention_last", 0)
        attends = [(i + 1) % k == 0 if k else i >= n - last for i in range(n)]
        bound = math.sqrt(3 / d)
        self.attention, self.scan = ATTENTION[attention], scan
        self.stream, self.dropout = stream, c.get("dropout", 0)
        self.embedding = torch.nn.Parameter(torch.empty(c["vocabulary"], d).uniform_(-bound, bound))
        self.layers = torch.nn.ModuleList(Layer(c, a, i + 1 == n) for i, a in enumerate(attends))
        self.output = torch.nn.Linear(d, c["vocabulary"])
        torch.nn.init.uniform_(self.output.weight, -bound, bound)
        torch.nn.init.zeros_(self.output.bias)

    def start(self, batch, memory=0):
        """Returns the state before the first segment: cells of zeros, and `memory` rows of zeros if any."""
        d, device = self.embedding.size(1), self.embedding.device
        return [(torch.zeros(memory, batch, d, dtype=self.stream, device=device) if layer.attends and memory else None,
                 torch.zeros(batch, d, device=device)) for layer in self.layers]

    def forward(self, tokens, state=None, window=0):
        """Returns logits (T, B, V) of tokens (T, B), and the state for the next segment. A query sees at most `window`
        keys, its own included; 0: the whole memory and all earlier tokens."""
        T, B = tokens.shape
        state = state or self.start(B)
        M = max([0] + [memory.size(0) for memory, _ in state if memory is not None])
        distance = torch.arange(M, M + T, device=tokens.device)[:, None] - torch.arange(M + T, device=tokens.device)
        hidden = (distance < 0) | (distance >= (window or M + T))
        bias = torch.zeros(T, M + T, dtype=self.stream, device=tokens.device).masked_fill(hidden, -math.inf)
        x = F.dropout(F.embedding(tokens, self.embedding.to(self.stream)), self.dropout, self.training)
        after = []
        for layer, (memory, c) in zip(self.layers, state):
            h, c = layer(x, memory, c, bias, self.attention, self.scan)
            after.append((x.detach() if layer.attends else None, c))
            x = h
        return self.output(F.dropout(x, self.dropout, self.training)), after


def columns(ids, batch):
    """Cuts a text into `batch` rows that are read side by side; returns inputs and targets, (length, batch)."""
    length = (len(ids) - 1) // batch
    cut = lambda a: torch.from_numpy(np.ascontiguousarray(a[: length * batch].reshape(batch, length).T))
    return cut(ids[:-1]), cut(ids[1:])


@torch.no_grad()
def evaluate(model, ids, window, batch):
    """Returns bits per character, in segments of `window` tokens; each query sees window + 1 keys."""
    model.eval()
    x, y = columns(ids, batch)
    device = model.embedding.device
    state, total = None, 0.0
    for i in range(0, len(x), window):
        logits, state = model(x[i : i + window].to(device), state, window + 1)
        targets = y[i : i + window].flatten().to(device)
        total += F.cross_entropy(logits.flatten(0, 1), targets, reduction="sum").item()
    model.train()
    return total / x.numel() / math.log(2)


def read_safetensors(path):
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
        data = np.memmap(path, np.uint8, "r", f.tell())
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


def read_ids(path, vocabulary):
    """Reads a file (.dz and .gz are unpacked) as ids. `vocabulary` is the hex of the byte values in the order of ids."""
    opener = gzip.open if path.endswith((".dz", ".gz")) else open
    with opener(path, "rb") as f:
        text = np.frombuffer(f.read(), np.uint8)
    table = np.full(256, -1, np.int64)
    table[np.frombuffer(bytes.fromhex(vocabulary), np.uint8)] = np.arange(len(vocabulary) // 2)
    return table[text]
