"""The layers of SRU++, SRU, Transformer-XL and Primer, with the names that Tandem's checkpoints give their parameters.

A layer maps x (B, T, D) and what it kept of the text before, a list of tensors or None, to its output and to what it
keeps. Tandem's headers have the equations and their sources: models/srupp/srupp.h, models/sru/sru.h and
models/layers/self_attention.h. There is no dropout here.
"""
import math

import torch
import torch.nn.functional as F
from torch import nn


def new_weight(*shape):
    """Returns a parameter whose values are only good to begin with: the weights of a model are loaded."""
    return nn.Parameter(torch.empty(*shape).normal_(0, shape[-1] ** -0.5))


class Projection(nn.Module):
    """Computes x W' + b. With taps, filtered() then applies a causal filter of that width to each channel."""

    def __init__(self, rows, columns, bias=False, taps=0):
        super().__init__()
        self.weight = new_weight(rows, columns)
        self.bias = nn.Parameter(torch.zeros(rows)) if bias else None
        self.filter = new_weight(rows, taps) if taps else None

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)

    def filtered(self, p, past):
        """Filters p (B, T, C); `past` holds the rows before it. Returns the result and the rows before what follows."""
        if self.filter is None:
            return p, None
        taps = self.filter.size(1)
        before = p.new_zeros(p.size(0), taps - 1, p.size(2)) if past is None else past
        p = torch.cat([before, p], 1)
        y = F.conv1d(p.transpose(1, 2), self.filter[:, None], groups=p.size(2)).transpose(1, 2)
        return y, p[:, p.size(1) - taps + 1 :]


class Norm(nn.Module):
    """Layer norm over the last axis."""

    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.gain, self.bias, self.eps = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width)), eps

    def forward(self, x):
        return F.layer_norm(x, self.gain.shape, self.gain, self.bias, self.eps)


class SruScan(nn.Module):
    """The recurrence of the SRU over time."""

    def __init__(self, d):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.zeros(2 * d)), nn.Parameter(torch.zeros(2 * d))

    def forward(self, u, skip, c):
        """Runs from the state c (B, D) over u (B, T, 3 D); of four planes the last is the skip."""
        d = self.weight.size(0) // 2
        candidate, forget, reset = u[..., :d], u[..., d : 2 * d] + self.bias[:d], u[..., 2 * d : 3 * d] + self.bias[d:]
        skip = u[..., 3 * d :] if skip is None else skip
        c = u.new_zeros(u.size(0), d) if c is None else c
        states = [c]
        for t in range(u.size(1)):
            f = torch.sigmoid(self.weight[:d] * c + forget[:, t])
            c = (c - candidate[:, t]) * f + candidate[:, t]
            states.append(c)
        states = torch.stack(states, 1)
        r = torch.sigmoid(self.weight[d:] * states[:, :-1] + reset)
        return skip + (states[:, 1:] - skip) * r, c


def distances(queries, keys, device):
    """Returns how far key j lies before query i, (queries, keys): the queries are the last of the keys."""
    return torch.arange(keys - queries, keys, device=device)[:, None] - torch.arange(keys, device=device)


def split_heads(x, heads):
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, rows, width)


def join_heads(x):
    return x.transpose(1, 2).flatten(2)


def with_past(past, rows):
    return rows if past is None else torch.cat([past, rows], 1)


def last_rows(x, count):
    return x[:, max(0, x.size(1) - count) :]


class SruppLayer(nn.Module):
    def __init__(self, c, i):
        super().__init__()
        d, p = c["d"], c["d_projected"]
        k, last = c["attention_every"], c["attention_last"]
        self.attends = (i + 1) % k == 0 if k else i >= c["layers"] - last
        self.heads = c["heads"]
        taps = c["conv_width"] if self.attends else c["short_conv_width"]
        self.query = Projection(p, d, taps=taps)
        if self.attends:
            self.key_value = Projection(2 * p, p, taps=taps)
            self.alpha = nn.Parameter(torch.zeros(1))
        self.norm = Norm(p)
        self.output = Projection(3 * d, p)
        self.scan = SruScan(d)

    def forward(self, x, before, context):
        c, past, query_past, pair_past = before or [None] * 4
        y = q = self.query(x)
        if self.attends:
            queries, query_past = self.query.filtered(q, query_past)
            pair, pair_past = self.key_value.filtered(self.key_value(q), pair_past)
            pair = with_past(past, pair)
            k, v = (split_heads(z, self.heads) for z in pair.chunk(2, -1))
            distance = distances(x.size(1), pair.size(1), x.device)
            visible = (distance >= 0) & (distance <= context.memory)
            attended = F.scaled_dot_product_attention(split_heads(queries, self.heads), k, v, attn_mask=visible)
            y = q + self.alpha * join_heads(attended)
            past = last_rows(pair, context.memory)
        else:
            y, query_past = self.query.filtered(q, query_past)
        h, c = self.scan(self.output(self.norm(y)), x, c)
        return h, [c, past, query_past, pair_past]


class SruLayer(nn.Module):
    def __init__(self, c, i):
        super().__init__()
        d, narrow = c["d"], c["d_projected"]
        width = c["d_embedding"] if i == 0 and c["d_embedding"] else d
        projected = 0 < narrow < min(width, d)
        self.projection = Projection(narrow, width) if projected else None
        self.weight = new_weight((3 if width == d else 4) * d, narrow if projected else width)
        self.scan = SruScan(d)
        self.same_width = width == d
        self.rescale = math.sqrt(1 + 2 * math.exp(c["highway_bias"])) if c["rescale"] else 1.0

    def forward(self, x, before, context):
        u = F.linear(x if self.projection is None else self.projection(x), self.weight)
        h, c = self.scan(u, self.rescale * x if self.same_width else None, before[0] if before else None)
        return h, [c]


class Residual(nn.Module):
    """The sum around a sub-layer; `place` is that of the norm: before, after or inside."""

    def __init__(self, c, place):
        super().__init__()
        self.norm, self.place = Norm(c["d"], c["norm_eps"]), place

    def input(self, x):
        return self.norm(x) if self.place == "before" else x

    def sum(self, x, y):
        if self.place == "after":
            return self.norm(x + y)
        return x + (self.norm(y) if self.place == "inside" else y)


class SelfAttention(nn.Module):
    """Attention with Transformer-XL's relative positions. `first` is the layer whose biases u and v it shares."""

    def __init__(self, c, first):
        super().__init__()
        d, w, bias, taps = c["d"], c["heads"] * c["d_head"], c["attention_bias"], c["conv_width"]
        self.heads, self.width = c["heads"], w
        self.query = Projection(w, d, bias, taps)
        if c["shared_qk"]:
            self.value, self.shared = Projection(w, d, bias, taps), Projection(w, w)
        else:
            self.key_value, self.shared = Projection(2 * w, d, bias, taps), None
        self.output = Projection(d, w, bias)
        self.position = Projection(w, d)
        self.first = (first,)  # in a tuple, in which PyTorch looks for no parameters
        if first is None:
            self.content_bias, self.position_bias = nn.Parameter(torch.zeros(w)), nn.Parameter(torch.zeros(w))
        self.residual = Residual(c, "after" if c["norm"] == "after" else "before")

    def projections(self, n, query_past, pair_past):
        """Returns queries, keys and values side by side, and the rows that the filters need next."""
        q, query_past = self.query.filtered(self.query(n), query_past)
        if self.shared is None:
            pair, pair_past = self.key_value.filtered(self.key_value(n), pair_past)
            return q, pair, query_past, pair_past
        v, pair_past = self.value.filtered(self.value(n), pair_past)
        return self.shared(q), torch.cat([q, v], -1), query_past, pair_past

    def forward(self, x, before, context):
        past, query_past, pair_past = before or [None] * 3
        q, pair, query_past, pair_past = self.projections(self.residual.input(x), query_past, pair_past)
        pair = with_past(past, pair)
        k, v = (split_heads(z, self.heads) for z in pair.chunk(2, -1))
        distance = distances(x.size(1), pair.size(1), x.device)
        hidden = (distance < 0) | (distance >= context.memory)
        positions = self.position(context.sinusoids(pair.size(1), x))
        owner = self.first[0] or self
        r = positions.unflatten(-1, (self.heads, -1)).permute(1, 2, 0)  # (heads, width, distances)
        by_distance = split_heads(q + owner.position_bias, self.heads) @ r
        shared = distance.clamp(0, positions.size(0) - 1).expand(*by_distance.shape[:2], -1, -1)
        scores = split_heads(q + owner.content_bias, self.heads) @ k.transpose(-1, -2) + by_distance.gather(-1, shared)
        weights = (scores / math.sqrt(self.width // self.heads)).masked_fill(hidden, -math.inf).softmax(-1)
        h = self.residual.sum(x, self.output(join_heads(weights @ v)))
        return h, [last_rows(pair, context.memory - 1), query_past, pair_past]


ACTIVATIONS = {"relu": F.relu, "squared_relu": lambda x: F.relu(x) ** 2, "gelu": F.gelu, "silu": F.silu}


class FeedForward(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.add_module("in", Projection(c["d_inner"], c["d"], bias=True))
        self.out = Projection(c["d"], c["d_inner"], bias=True)
        self.activation = ACTIVATIONS[c["activation"]]
        self.residual = Residual(c, "inside" if c["norm"] == "primer" else c["norm"])

    def forward(self, x, before, context):
        inner = self.activation(getattr(self, "in")(self.residual.input(x)))
        return self.residual.sum(x, self.out(inner)), []


class FinalNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = Norm(c["d"], c["norm_eps"])

    def forward(self, x, before, context):
        return self.norm(x), []


def make_layers(c):
    """Returns the layers of a configuration of Tandem."""
    if c["model"] in ("srupp", "sru"):
        kind = SruppLayer if c["model"] == "srupp" else SruLayer
        return nn.ModuleList(kind(c, i) for i in range(c["layers"]))
    if c.get("positions") != "relative":
        raise ValueError(f"the model is {c['model']!r} with positions {c.get('positions')!r}, and they must be relative")
    layers = nn.ModuleList()
    for i in range(c["layers"]):
        layers.append(SelfAttention(c, layers[0] if i > 0 and c["shared_position_bias"] else None))
        layers.append(FeedForward(c))
    if c["final_norm"]:
        layers.append(FinalNorm(c))
    return layers
